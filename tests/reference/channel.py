"""Channel attention from the equations of the papers. x: (C, *S); result: one weight per channel."""

import math

import numpy as np
from scipy.fft import dctn

from tests.reference.dense import convolve, group_norm, sigmoid, softmax


def rows(x):
    return x.reshape(len(x), -1)


def squeeze_excitation(x, w1, b1, w2, b2, maximum=False):
    total = np.zeros(len(x))
    for z in [rows(x).mean(axis=1), rows(x).max(axis=1)][: 2 if maximum else 1]:
        total += w2 @ np.maximum(w1 @ z + b1, 0) + b2
    return sigmoid(total)


def efficient_channel(x, kernel, bias):
    z = rows(x).mean(axis=1)
    half = len(kernel) // 2
    logits = []
    for c in range(len(z)):
        near = [(c + j - half, weight) for j, weight in enumerate(kernel)]
        logits.append(sum(weight * z[i] for i, weight in near if 0 <= i < len(z)) + bias)
    return sigmoid(np.array(logits))


def gated_channel(x, alpha, gamma, beta):
    s = np.array([alpha[c] * math.sqrt((row**2).sum()) for c, row in enumerate(rows(x))])
    normalised = s / math.sqrt((s**2).mean() + 1e-5)
    return 1 + np.tanh(gamma * normalised + beta)


def gaussian_context(x):
    z = rows(x).mean(axis=1)
    normalised = (z - z.mean()) / math.sqrt(z.var() + 1e-5)
    return np.exp(-(normalised**2) / (2 * 2**2))


def style(x, weight):
    """Return w . [mean; standard deviation with N - 1] per channel."""
    return weight[:, 0] * rows(x).mean(axis=1) + weight[:, 1] * np.sqrt(rows(x).var(axis=1, ddof=1) + 1e-5)


def batch_norm(z, scale, shift):
    """Normalise z (B, C) over the batch."""
    return scale * (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5) + shift


def covariance(x, weight, bias, scale, shift):
    """Return the covariance of relu(norm(W relu(x)))."""
    reduced = np.maximum(group_norm(convolve(np.maximum(x, 0), weight, bias), scale, shift), 0)
    return np.cov(rows(reduced), bias=True)


def second_order(sigma, row_scale, row_shift, row_weight, row_bias, w, b):
    """Return one weight per channel, from four numbers per covariance row; each row has its own weights."""
    normed = group_norm(sigma, row_scale, row_shift)
    numbers = []
    for i, row in enumerate(normed):
        for j in range(4):
            numbers.append(row_weight[4 * i + j, 0] @ row + row_bias[4 * i + j])
    return sigmoid(w @ np.array(numbers) + b)


def spectrum(x, frequencies):
    """Return the orthonormal cosine coefficient of each channel at its frequency."""
    return np.array([dctn(x[c], norm="ortho")[tuple(f)] for c, f in enumerate(frequencies)])


def encode(x, codewords, scales, norm_scale, norm_shift):
    """Return the encoding e of a case, residual by residual."""
    voxels = rows(x).T
    e = np.zeros_like(codewords)
    for voxel in voxels:
        residual = voxel - codewords
        assignment = softmax(-scales * (residual**2).sum(axis=1))
        e += assignment[:, None] * residual
    normed = (e - e.mean(axis=1, keepdims=True)) / np.sqrt(e.var(axis=1, keepdims=True) + 1e-5)
    return np.maximum(normed * norm_scale[:, None] + norm_shift[:, None], 0).mean(axis=0)


def decoder_channel(x, gate, w1, b1, w2, b2):
    """UCTransNet: half the sum of both answers. gate: (Cg, *Sg)."""
    return sigmoid((w1 @ rows(x).mean(axis=1) + b1 + w2 @ rows(gate).mean(axis=1) + b2) / 2)


def between_channels(x, temperature=None):
    """Return what each channel gathers, and what each receives; directions are compared if there is a temperature."""
    compared = rows(x)
    if temperature is not None:
        compared = compared / np.linalg.norm(compared, axis=1, keepdims=True)
    gathered, received = np.zeros_like(rows(x)), np.zeros(len(x))
    for i, channel in enumerate(compared):
        share = softmax(np.array([(channel * other).sum() for other in compared]) * (temperature or 1))
        for j, part in enumerate(share):
            gathered[i] += part * rows(x)[j]
            received[j] += part
    return gathered.reshape(x.shape), received
