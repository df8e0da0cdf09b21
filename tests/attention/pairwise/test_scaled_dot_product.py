import logging
import math

import numpy as np
import pytest
import torch
from monai.networks.blocks.crossattention import CrossAttentionBlock
from torch.nn import functional as F

from attention_unet.attention.base import Place
from attention_unet.attention.pairwise import scaled_dot_product
from attention_unet.attention.pairwise.scaled_dot_product import (
    CrossAttention,
    NonLocalBlock,
    SelfAttention,
    attend,
    bounded_grid,
    log_averaged_keys,
    tokens,
)
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve, softmax, voxels_of
from tests.reference.heads import block_means, gather


def reference(x, source, p, scaled=True):
    query, key, value = (
        convolve(features, p[f"{name}.weight"], p[f"{name}.bias"])
        for name, features in (("query", x), ("key", source), ("value", source))
    )
    scale = len(query) ** -0.5 if scaled else 1.0
    gathered, received = gather(query, key, value, 1, scale, lambda q: [*voxels_of(key.shape[1:])])
    return gathered, received * received.size / query[0].size


@pytest.mark.parametrize("init", ["open", "paper"])
@pytest.mark.parametrize("grid", [(4, 3), (3, 2, 2)])
def test_self_attention_equals_the_equation(grid, init):
    attention, x = trained(SelfAttention(Place(len(grid), 16, 16, init=init))), image(1, 16, *grid)
    p = arrays(attention)
    gathered, received = reference(x[0].numpy(), x[0].numpy(), p, scaled=init == "open")
    assert gathered.shape == (2, *grid)  # values have an eighth of the channels, too
    expected = x[0].numpy() + attention.gamma.item() * convolve(gathered, p["project.weight"], p["project.bias"])
    torch.testing.assert_close(attention(x).features[0], torch.from_numpy(expected))
    torch.testing.assert_close(attention(x, with_map=True).weights[0, 0], torch.from_numpy(received))


@pytest.mark.parametrize("grid", [(4, 3), (3, 2, 2)])
def test_nonlocal_equals_the_equation(grid):
    attention, x = trained(NonLocalBlock(Place(len(grid), 4, 4))), image(1, 4, *grid)
    p = arrays(attention)
    gathered, _ = reference(x[0].numpy(), x[0].numpy(), p)
    expected = x[0].numpy() + convolve(gathered, p["project.weight"], p["project.bias"])
    torch.testing.assert_close(attention(x).features[0], torch.from_numpy(expected))


@pytest.mark.parametrize("grids", [((4, 6), (2, 3)), ((4, 16), (8, 8)), ((4, 2, 2), (3, 1, 2))])
def test_cross_attention_equals_the_equation(grids):
    """Also on grids of as many voxels in another shape, which a view of one as the other scrambles unnoticed."""
    attention, x, signal = (
        trained(CrossAttention(Place(len(grids[0]), 4, 5))),
        image(1, 4, *grids[0]),
        image(1, 5, *grids[1]),
    )
    p = arrays(attention)
    gathered, received = reference(x[0].numpy(), signal[0].numpy(), p)
    expected = x[0].numpy() + convolve(gathered, p["project.weight"], p["project.bias"])
    torch.testing.assert_close(attention(x, signal).features[0], torch.from_numpy(expected))
    torch.testing.assert_close(attention(x, signal, True).weights[0, 0], torch.from_numpy(received))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_equals_torch_multihead_attention(heads):
    attention = trained(CrossAttention(Place(2, 16, 6), heads=heads))
    x, signal = image(1, 16, 4, 4), image(1, 6, 2, 2)
    judge = torch.nn.MultiheadAttention(8, heads, batch_first=True).double()
    queries, keys, values = (
        tokens(m(s)) for m, s in [(attention.query, x), (attention.key, signal), (attention.value, signal)]
    )
    with torch.no_grad():
        judge.in_proj_weight.copy_(torch.eye(8).repeat(3, 1))
        judge.in_proj_bias.zero_()
        judge.out_proj.weight.copy_(torch.eye(8))
        judge.out_proj.bias.zero_()
    expected, matrix = judge(queries[:, 0], keys[:, 0], values[:, 0])
    gathered, received = attention.gather(x, signal, True)
    torch.testing.assert_close(tokens(gathered)[:, 0], expected)
    torch.testing.assert_close(received.flatten(1), matrix.mean(dim=1) * 4)


def test_equals_monai_cross_attention():
    attention, x, signal = trained(CrossAttention(Place(2, 8, 8))), image(1, 8, 4, 4), image(1, 8, 2, 2)
    judge = CrossAttentionBlock(hidden_size=4, num_heads=1, qkv_bias=True).double().eval()
    with torch.no_grad():
        for layer in (judge.to_q, judge.to_k, judge.to_v, judge.out_proj):
            layer.weight.copy_(torch.eye(4))
            layer.bias.zero_()
    queries, keys, values = (
        tokens(m(s)) for m, s in [(attention.query, x), (attention.key, signal), (attention.value, signal)]
    )
    # MONAI takes keys and values from one signal: values as keys, and keys as values, must agree as well.
    torch.testing.assert_close(attend(queries, keys, keys, 0.5)[:, 0], judge(queries[:, 0], keys[:, 0]))
    torch.testing.assert_close(attend(queries, values, values, 0.5)[:, 0], judge(queries[:, 0], values[:, 0]))


def test_fused_kernels_see_no_difference_in_width(monkeypatch):
    query, key, value = image(2, 1, 30, 2), image(2, 1, 20, 2), image(2, 1, 20, 6)
    plain = attend(query, key, value, 0.7)
    explicit = torch.softmax(query @ key.transpose(2, 3) * 0.7, dim=3) @ value
    monkeypatch.setattr(scaled_dot_product, "MAX_KEYS", 24)  # 576 pairs; here are 600, then 560
    seen = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, *rest, **k: seen.append(q.shape[3]) or fused(q, *rest, **k)
    )
    torch.testing.assert_close(attend(query, key, value, 0.7), plain)
    torch.testing.assert_close(plain, explicit)
    attend(query[:, :, :28], key, value, 0.7)
    assert seen == [8, 2]


@pytest.mark.parametrize("heads", [1, 2])
def test_row_of_a_voxel_sums_to_one_and_is_the_mean_softmax_of_the_heads(heads):
    attention = trained(CrossAttention(Place(3, 8, 5), heads=heads))
    x, signal = image(2, 8, 4, 3, 2), image(2, 5, 2, 2, 1)
    row = attention.row(x, signal, (1, 2, 0))
    assert row.shape == (2, 1, 2, 2, 1)
    torch.testing.assert_close(row.sum(dim=(1, 2, 3, 4)), torch.ones(2, dtype=torch.float64))
    one = attention.query(x)[:, :, 1, 2, 0].reshape(2, heads, -1)
    keys = attention.key(signal).reshape(2, heads, 4 // heads, -1)
    products = torch.einsum("bhc,bhcn->bhn", one, keys) / math.sqrt(4 / heads)
    torch.testing.assert_close(row.flatten(1), torch.softmax(products, dim=2).mean(dim=1))


def test_a_row_of_no_voxel():
    for voxel in ((4, 0), (0,), (-1, 0)):
        with pytest.raises(ValueError, match=r"voxel is .*: expected one index for each axis of the grid \(4, 3\)"):
            trained(SelfAttention(Place(2, 8, 8))).row(image(1, 8, 4, 3), None, voxel)


def test_keys_of_a_large_grid_are_averaged_and_it_is_said(caplog, monkeypatch):
    log_averaged_keys.cache_clear()
    monkeypatch.setattr(scaled_dot_product, "MAX_KEYS", 16)
    attention = SelfAttention(Place(2, 8, 8))
    with caplog.at_level(logging.INFO):
        weights = attention(torch.randn(1, 8, 16, 12), with_map=True).weights
        attention(torch.randn(1, 8, 16, 12))
    assert weights.shape == (1, 1, 4, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "SelfAttention: all pairs of 16 x 12 queries and 16 x 12 keys would take 0.000137 GiB a sample; "
        "keys are averaged to 4 x 3 (8.58e-06 GiB, never all in memory)"
    ]


def test_bounded_grid():
    assert bounded_grid((64, 64, 64), 4096) == (16, 16, 16)
    assert bounded_grid((56, 56), 4096) == (56, 56)
    assert bounded_grid((1, 90, 91), 4096) == (1, 45, 46)
    assert scaled_dot_product.average_keys(torch.zeros(1, 1, 16, 16, 17), (1, 1), "test").shape == (1, 1, 16, 16, 9)


def test_received_map_of_many_queries_is_estimated_from_some(monkeypatch):
    """Also where every n-th of the voxels in a row would be a face of the volume."""
    attention, x = trained(SelfAttention(Place(3, 8, 8))), image(1, 8, 8, 8, 8)
    x[..., -1] += 10.0  # the face looks elsewhere than the rest
    x[..., 0] -= 10.0
    exact = attention(x, with_map=True).weights
    monkeypatch.setattr(scaled_dot_product, "MAX_QUERIES", 64)
    estimate = attention(x, with_map=True).weights
    assert estimate.shape == exact.shape
    assert float(estimate.mean()) == pytest.approx(1)
    assert np.corrcoef(estimate.flatten(), exact.flatten())[0, 1] > 0.9


def test_width_of_values_comes_back_from_the_fused_kernel(monkeypatch):
    monkeypatch.setattr(scaled_dot_product, "MAX_KEYS", 4)
    query, key, value = image(2, 1, 30, 6), image(2, 1, 20, 6), image(2, 1, 20, 9)
    explicit = torch.softmax(query @ key.transpose(2, 3) * 0.7, dim=3) @ value
    torch.testing.assert_close(attend(query, key, value, 0.7), explicit)


@pytest.mark.parametrize("grid", [(6, 5), (3, 4, 5)])
def test_averaged_keys_lie_where_their_voxels_are(grid, monkeypatch):
    """Also in ``row``: blocks are in order, and each is a mean of its voxels."""
    monkeypatch.setattr(scaled_dot_product, "MAX_KEYS", 8)
    attention, x = trained(NonLocalBlock(Place(len(grid), 4, 4))), image(1, 4, *grid)
    p, few = arrays(attention), block_means(x[0].numpy(), bounded_grid(grid, 8))
    gathered, received = reference(x[0].numpy(), few, p)
    expected = x[0].numpy() + convolve(gathered, p["project.weight"], p["project.bias"])
    result = attention(x, with_map=True)
    torch.testing.assert_close(result.features[0], torch.from_numpy(expected))
    torch.testing.assert_close(result.weights[0, 0], torch.from_numpy(received))
    query = convolve(x[0].numpy(), p["query.weight"], p["query.bias"])[(slice(None), *[1] * len(grid))]
    products = np.tensordot(query, convolve(few, p["key.weight"], p["key.bias"]), axes=1) / math.sqrt(2)
    row = attention.row(x, None, [1] * len(grid))[0, 0]
    torch.testing.assert_close(row.ravel(), torch.from_numpy(softmax(products.ravel())))


def test_received_map_counts_all_queries_of_large_grids_in_chunks(monkeypatch):
    """600 queries are more than a chunk of 512."""
    query, key = image(2, 4, 30, 20), image(2, 4, 3, 2)
    shares = torch.softmax(tokens(query, 2) @ tokens(key, 2).transpose(2, 3) * 0.7, dim=3)
    expected = shares.mean(dim=(1, 2)).reshape(2, 1, 3, 2) * 6
    seen, softmax = [], torch.softmax
    monkeypatch.setattr(
        torch, "softmax", lambda products, dim: seen.append(products.shape[2]) or softmax(products, dim)
    )
    torch.testing.assert_close(scaled_dot_product.received_map(query, key, 2, 0.7), expected)
    assert sum(seen) == 600
    assert max(seen) < 600


def test_received_map_of_a_very_large_grid_asks_equally_spaced_queries(monkeypatch):
    monkeypatch.setattr(scaled_dot_product, "MAX_QUERIES", 12)
    query, key = image(1, 2, 8, 5), image(1, 2, 3, 2)
    few = query[:, :, [0, 2, 5, 7]][..., [0, 2, 4]]  # bounded_grid is 4 x 3
    expected = scaled_dot_product.received_map(few, key, 1, 1.0)
    torch.testing.assert_close(scaled_dot_product.received_map(query, key, 1, 1.0), expected)


def test_pairs_are_bounded_as_well(monkeypatch):
    monkeypatch.setattr(scaled_dot_product, "MAX_PAIRS", 200)
    source = image(1, 2, 6, 6)
    assert scaled_dot_product.average_keys(source, (5, 5), "test").shape == (1, 2, 2, 3)
    assert scaled_dot_product.average_keys(source, (5, 1), "test") is source
    assert scaled_dot_product.average_keys(source, (50, 50), "test").shape == (1, 2, 1, 1)


def test_over_64_voxels_along_each_axis_1024_keys_are_left():
    few = scaled_dot_product.average_keys(torch.zeros(1, 1, 16, 16, 16), (64, 64, 64), "test")
    assert few[0, 0].numel() == 1024
