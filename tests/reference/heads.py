"""Attention between some voxels in several heads, from the equations of the papers, voxel by voxel. Arrays: (C, *S)."""

import numpy as np

from tests.reference.dense import convolve, group_norm, softmax, voxels_of


def gather(query, key, value, heads, scale, keys_of, bias=lambda head, q, k: 0.0):
    """Return gathered values and what each key receives: the sum over queries of its mean share over heads.

    ``keys_of`` returns the voxels that a voxel attends to, ``bias`` what is added to a product.
    """
    gathered = np.zeros((len(value), *query.shape[1:]))
    received = np.zeros(key.shape[1:])
    width, value_width = len(query) // heads, len(value) // heads
    for q in voxels_of(query.shape[1:]):
        keys = keys_of(q)
        for h in range(heads):
            own, values = slice(h * width, (h + 1) * width), slice(h * value_width, (h + 1) * value_width)
            products = [query[(own, *q)] @ key[(own, *k)] * scale + bias(h, q, k) for k in keys]
            for k, share in zip(keys, softmax(np.array(products)), strict=True):
                gathered[(values, *q)] += share * value[(values, *k)]
                received[k] += share / heads
    return gathered, received


def box_mates(grid, size, shift):
    """Return the function from a voxel to the voxels of its box; boxes begin at ``shift``."""

    def box(voxel):
        return [(v - shift) // size for v in voxel]

    return lambda q: [k for k in voxels_of(grid) if box(k) == box(q)]


def line_mates(grid, axis):
    """Return the function from a voxel to the voxels of its line along an axis."""
    return lambda q: [(*q[:axis], n, *q[axis + 1 :]) for n in range(grid[axis])]


def offset_number(q, k, size):
    """Number the offsets of two voxels of a box row by row, the most negative first."""
    number = 0
    for one, other in zip(q, k, strict=True):
        number = number * (2 * size - 1) + one - other + size - 1
    return number


def efficient(query, key, value, heads):
    """Return gathered values, and the mean map of the keys."""
    gathered, maps = np.zeros_like(value), np.zeros(value.shape[1:])
    width = len(value) // heads
    for h in range(heads):
        own = slice(h * width, (h + 1) * width)
        by_map = np.stack([softmax(channel) for channel in key[own]])
        sums = [[(by_map[i] * channel).sum() for channel in value[own]] for i in range(width)]
        for voxel in voxels_of(value.shape[1:]):
            gathered[(own, *voxel)] = softmax(query[(own, *voxel)]) @ np.array(sums)
        maps += by_map.mean(axis=0) / heads
    return gathered, maps


def external(query, keys, values):
    """Return gathered values, and the mean map of the slots. keys, values: (slots, C)."""
    asked = np.stack([softmax(np.tensordot(key, query, axes=1)) for key in keys])
    shares = asked / asked.sum(axis=0)
    return np.tensordot(values.T, shares, axes=1), asked.mean(axis=0)


def paired_channels(query, key, value, temperature, heads):
    """Attention between channels, each divided by its length."""
    width, gathered = len(query) // heads, np.zeros_like(value)
    for h in range(heads):
        for i in range(h * width, (h + 1) * width):
            others = range(h * width, (h + 1) * width)
            products = [(query[i] * key[j]).sum() for j in others]
            products = [
                p / np.linalg.norm(query[i]) / np.linalg.norm(key[j]) for p, j in zip(products, others, strict=True)
            ]
            for j, share in zip(others, softmax(np.array(products) * temperature[h]), strict=True):
                gathered[i] += share * value[j]
    return gathered


def block_means(x, grid):
    """Average (C, *S) over blocks that share the axes as evenly as can be, neighbours overlapping where they must."""
    y = np.zeros((len(x), *grid))
    for block in voxels_of(grid):
        edges = [(b * n // g, -(-(b + 1) * n // g)) for b, n, g in zip(block, x.shape[1:], grid, strict=True)]
        box = x[(slice(None), *(slice(*edge) for edge in edges))]
        y[(slice(None), *block)] = box.reshape(len(x), -1).mean(axis=1)
    return y


def selective(parts, reduce, norm, choose):
    """Return the shares of the kernels, (K, C). parts: what each kernel returns, (C, *S)."""
    mean = sum(parts).reshape(len(parts[0]), -1).mean(axis=1)
    z = np.maximum(group_norm((reduce @ mean)[:, None], *norm), 0)[:, 0]
    logits = (choose[0] @ z + choose[1]).reshape(len(parts), -1)
    return np.stack([softmax(column) for column in logits.T], axis=1)


def dynamic(x, weight, bias, reduce, choose, temperature):
    """Return features and the shares of the kernels. weight: (K, C, C, *k); reduce, choose: (weight, bias)."""
    hidden = np.maximum(reduce[0] @ x.reshape(len(x), -1).mean(axis=1) + reduce[1], 0)
    shares = softmax((choose[0] @ hidden + choose[1]) / temperature)
    results = [convolve(x, *kernel) for kernel in zip(weight, bias, strict=True)]
    return sum(share * result for share, result in zip(shares, results, strict=True)), shares
