"""Weights of channels and voxels from the equations of the papers. x: (C, *S); most results: (C, *S)."""

import numpy as np

from tests.reference.dense import convolve, group_norm, sigmoid, softmax, voxels_of


def relu(x):
    return np.maximum(x, 0)


def dilated(x, weight, bias, apart, groups=1):
    """Convolve with taps that are ``apart`` voxels apart, on the same grid."""
    outputs, inputs, *kernel = weight.shape
    y = np.zeros((outputs, *x.shape[1:]))
    for o in range(outputs):
        first = o // (outputs // groups) * inputs
        for voxel in voxels_of(x.shape[1:]):
            total = bias[o]
            for tap in voxels_of(kernel):
                at = [v + apart * (t - k // 2) for v, t, k in zip(voxel, tap, kernel, strict=True)]
                if all(0 <= a < n for a, n in zip(at, x.shape[1:], strict=True)):
                    for i in range(inputs):
                        total += weight[(o, i, *tap)] * x[(first + i, *at)]
            y[(o, *voxel)] = total
    return y


def bottleneck(x, channel, spatial, apart, multiply):
    """BAM. channel: w1, b1, w2, b2; spatial: four convolutions (weight, bias), three norms (scale, shift)."""
    w1, b1, w2, b2 = channel
    convolutions, norms = spatial
    by_channel = w2 @ relu(w1 @ x.reshape(len(x), -1).mean(axis=1) + b1) + b2
    hidden = convolve(x, *convolutions[0])
    for convolution, norm in zip(convolutions[1:3], norms[:2], strict=True):
        hidden = dilated(relu(group_norm(hidden, *norm)), *convolution, apart)
    by_voxel = convolve(relu(group_norm(hidden, *norms[2])), *convolutions[3])
    by_channel = by_channel.reshape(-1, *[1] * (x.ndim - 1))
    return 1 + sigmoid(by_channel * by_voxel if multiply else by_channel + by_voxel)


def project_excite(x, w1, b1, w2, b2):
    projected = np.zeros_like(x)
    for c, *voxel in voxels_of(x.shape):
        for axis, at in enumerate(voxel):
            projected[(c, *voxel)] += np.take(x[c], at, axis=axis).mean()
    return sigmoid(convolve(relu(convolve(projected, w1, b1)), w2, b2))


def coordinate(x, w, b, scale, shift, expand):
    """expand: weight (C, c, 1) and bias of each axis."""
    grid = x.shape[1:]
    means = [x.mean(axis=tuple(a + 1 for a in range(len(grid)) if a != axis)) for axis in range(len(grid))]
    f = group_norm(convolve(np.concatenate(means, axis=1), w, b), scale, shift)
    f = f * np.clip(f + 3, 0, 6) / 6
    weights = np.ones_like(x)
    for axis, (weight, bias) in enumerate(expand):
        part = f[:, sum(grid[:axis]) : sum(grid[: axis + 1])]
        for c, *voxel in voxels_of(x.shape):
            weights[(c, *voxel)] *= sigmoid(weight[c, :, 0] @ part[:, voxel[axis]] + bias[c])
    return weights


def triplet(x, branches):
    """branches: for each axis of (C, *S) a function from two maps to a map of logits."""
    weights = np.zeros_like(x)
    for axis, branch in enumerate(branches):
        view = sigmoid(branch(np.stack([x.max(axis=axis), x.mean(axis=axis)]))[0])
        weights += np.expand_dims(view, axis) / len(branches)
    return weights


def polarized_channel(x, query, value, project, scale, shift):
    """Weights of the channels, (C). query, value, project: (weight, bias)."""
    share = softmax(convolve(x, *query).ravel())
    z = convolve(x, *value).reshape(-1, share.size) @ share
    z = project[0] @ z + project[1]
    return sigmoid((z - z.mean()) / np.sqrt(z.var() + 1e-5) * scale + shift)


def polarized_spatial(x, query, value, bias):
    """Weights of the voxels, (1, *S)."""
    asked = convolve(x, *query)
    share = softmax(asked.reshape(len(asked), -1).mean(axis=1))
    return sigmoid(np.tensordot(share, convolve(x, *value), axes=1)[None] + bias)


def simam(x, smoothing):
    """From the energy of a voxel: e* = 4 (var + l) / ((t - mean)^2 + 2 var + 2 l), weights sigmoid(1 / e*)."""
    weights = np.zeros_like(x)
    for c, channel in enumerate(x):
        variance = ((channel - channel.mean()) ** 2).sum() / (channel.size - 1)
        energy = 4 * (variance + smoothing) / ((channel - channel.mean()) ** 2 + 2 * variance + 2 * smoothing)
        weights[c] = sigmoid(1 / energy)
    return weights


def large_kernel(x, near, far, project, apart):
    """near, far, project: (weight, bias); near and far are depth-wise."""
    seen = dilated(dilated(x, *near, 1, groups=len(x)), *far, apart, groups=len(x))
    return convolve(seen, *project)
