"""Reference mask of the residual attention network, layer by layer."""

import numpy as np

from tests.reference.dense import convolve, group_norm, interpolate, max_pool, sigmoid


def layers(x, p, prefix, count):
    """Apply normalisation, ReLU, convolution ``count`` times."""
    for i in range(0, 3 * count, 3):
        x = np.maximum(group_norm(x, p[f"{prefix}.{i}.weight"], p[f"{prefix}.{i}.bias"]), 0)
        x = convolve(x, p[f"{prefix}.{i + 2}.weight"], p.get(f"{prefix}.{i + 2}.bias"))
    return x


def mask(x, p):
    fine = max_pool(x)
    fine = fine + layers(fine, p, "fine.body", 3)
    coarse = max_pool(fine)
    coarse = coarse + layers(coarse, p, "coarse.body", 3)
    joined = fine + interpolate(coarse, fine.shape[1:])
    return sigmoid(layers(interpolate(joined, x.shape[1:]), p, "project", 2))
