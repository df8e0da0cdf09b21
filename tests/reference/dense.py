"""Shared by the references, voxel by voxel: convolution, interpolation, normalisation, sigmoid. Arrays: (C, *S)."""

import itertools

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def voxels_of(grid):
    return itertools.product(*(range(n) for n in grid))


def convolve(x, weight, bias=None, groups=1):
    """Return the zero-padded cross-correlation on the same grid. weight: (O, C / groups, *k), torch's layout."""
    outputs, inputs, *kernel = weight.shape
    padded = np.pad(x, [(0, 0), *((k // 2, k // 2) for k in kernel)])
    y = np.zeros((outputs, *x.shape[1:]))
    for o in range(outputs):
        group = o // (outputs // groups)
        channels = slice(group * inputs, (group + 1) * inputs)
        for voxel in voxels_of(x.shape[1:]):
            box = padded[(channels, *(slice(v, v + k) for v, k in zip(voxel, kernel, strict=True)))]
            y[(o, *voxel)] = (weight[o] * box).sum() + (0 if bias is None else bias[o])
    return y


def instance_norm(x, scale, shift):
    """Normalise each channel (row) by its mean and variance."""
    flat = x.reshape(len(x), -1)
    normed = (flat - flat.mean(axis=1, keepdims=True)) / np.sqrt(flat.var(axis=1, keepdims=True) + 1e-5)
    return (normed * scale[:, None] + shift[:, None]).reshape(x.shape)


def group_norm(x, scale, shift):
    """Normalise groups of eight channels, or of the next larger number that divides them, each as a whole."""
    groups = max(g for g in range(1, len(x) + 1) if len(x) % g == 0 and (len(x) >= 8 * g or g == 1))
    normed = instance_norm(x.reshape(groups, -1), np.ones(groups), np.zeros(groups)).reshape(len(x), -1)
    return (normed * scale[:, None] + shift[:, None]).reshape(x.shape)


def sample(x, position):
    """Interpolate x (C, *S) linearly at a position in voxels; 0 outside the grid."""
    low = np.floor(position).astype(int)
    value = np.zeros(len(x))
    for corner in itertools.product((0, 1), repeat=len(low)):
        voxel = low + corner
        weight = np.prod([1 - abs(p - v) for p, v in zip(position, voxel, strict=True)])
        if all(0 <= v < n for v, n in zip(voxel, x.shape[1:], strict=True)):
            value += weight * x[(slice(None), *voxel)]
    return value


def interpolate(x, grid):
    """Resample linearly by voxel centres; use the nearest centre beyond the outer ones."""
    y = np.zeros((len(x), *grid))
    sizes = np.array(x.shape[1:])
    for voxel in voxels_of(grid):
        position = (np.array(voxel) + 0.5) * sizes / np.array(grid) - 0.5
        y[(slice(None), *voxel)] = sample(x, position.clip(0, sizes - 1))
    return y


def max_pool(x):
    """Return the maximum over 3 voxels per axis, at every second voxel."""
    grid = [-(-n // 2) for n in x.shape[1:]]
    y = np.zeros((len(x), *grid))
    for voxel in voxels_of(grid):
        box = x[(slice(None), *(slice(max(2 * v - 1, 0), 2 * v + 2) for v in voxel))]
        y[(slice(None), *voxel)] = box.reshape(len(x), -1).max(axis=1)
    return y
