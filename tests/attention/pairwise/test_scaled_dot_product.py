import logging
import math

import numpy as np
import pytest
import torch
from monai.networks.blocks.crossattention import CrossAttentionBlock
from torch.nn import functional as F

from attention_unet.attention.pairwise import scaled_dot_product
from attention_unet.attention.pairwise.cross_attention import CrossAttention
from attention_unet.attention.pairwise.nonlocal_block import NonLocalBlock
from attention_unet.attention.pairwise.scaled_dot_product import attend, bounded_grid, log_averaged_keys, tokens
from attention_unet.attention.pairwise.self_attention import SelfAttention
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve
from tests.reference.pairwise import gather


def reference(x, source, p, scaled=True):
    return gather(
        convolve(x, p["query.weight"], p["query.bias"]),
        *(convolve(source, p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("key", "value")),
        scaled,
    )


@pytest.mark.parametrize("init", ["open", "paper"])
@pytest.mark.parametrize("grid", [(4, 3), (3, 2, 2)])
def test_self_attention_equals_the_equation(grid, init):
    attention, x = trained(SelfAttention(len(grid), 16, init)), image(1, 16, *grid)
    gathered, received = reference(x[0].numpy(), x[0].numpy(), arrays(attention), scaled=init == "open")
    expected = x[0].numpy() + attention.gamma.item() * gathered
    torch.testing.assert_close(attention(x).features[0], torch.from_numpy(expected))
    torch.testing.assert_close(attention(x).weights[0, 0], torch.from_numpy(received))


@pytest.mark.parametrize("grid", [(4, 3), (3, 2, 2)])
def test_nonlocal_equals_the_equation(grid):
    attention, x = trained(NonLocalBlock(len(grid), 4)), image(1, 4, *grid)
    p = arrays(attention)
    gathered, _ = reference(x[0].numpy(), x[0].numpy(), p)
    expected = x[0].numpy() + convolve(gathered, p["project.weight"], p["project.bias"])
    torch.testing.assert_close(attention(x).features[0], torch.from_numpy(expected))


@pytest.mark.parametrize("grids", [((4, 6), (2, 3)), ((4, 16), (8, 8)), ((4, 2, 2), (3, 1, 2))])
def test_cross_attention_equals_the_equation(grids):
    """Also on grids of as many voxels in another shape, which a view of one as the other scrambles unnoticed."""
    attention, x, signal = trained(CrossAttention(len(grids[0]), 4, 5)), image(1, 4, *grids[0]), image(1, 5, *grids[1])
    p = arrays(attention)
    gathered, received = reference(x[0].numpy(), signal[0].numpy(), p)
    expected = x[0].numpy() + convolve(gathered, p["project.weight"], p["project.bias"])
    torch.testing.assert_close(attention(x, signal).features[0], torch.from_numpy(expected))
    torch.testing.assert_close(attention(x, signal).weights[0, 0], torch.from_numpy(received))


def test_cross_attention_of_one_signal_is_nonlocal():
    cross, own, x = trained(CrossAttention(2, 4, 4)), NonLocalBlock(2, 4).double(), image(2, 4, 5, 3)
    own.load_state_dict(cross.state_dict())
    torch.testing.assert_close(cross(x, x).features, own(x).features)


def test_equals_torch_multihead_attention():
    attention, x, signal = trained(CrossAttention(2, 8, 6)), image(1, 8, 4, 4), image(1, 6, 2, 2)
    judge = torch.nn.MultiheadAttention(4, 1, batch_first=True).double()
    queries, keys, values = (
        tokens(m(s)) for m, s in [(attention.query, x), (attention.key, signal), (attention.value, signal)]
    )
    with torch.no_grad():
        judge.in_proj_weight.copy_(torch.eye(4).repeat(3, 1))
        judge.in_proj_bias.zero_()
        judge.out_proj.weight.copy_(torch.eye(4))
        judge.out_proj.bias.zero_()
    expected, matrix = judge(queries, keys, values)
    gathered, received = attention.gather(x, signal)
    torch.testing.assert_close(tokens(gathered), expected)
    torch.testing.assert_close(received.flatten(1), matrix.mean(dim=1) * 4)


def test_equals_monai_cross_attention():
    attention, x, signal = trained(CrossAttention(2, 8, 8)), image(1, 8, 4, 4), image(1, 8, 2, 2)
    judge = CrossAttentionBlock(hidden_size=4, num_heads=1, qkv_bias=True).double().eval()
    with torch.no_grad():
        for layer in (judge.to_q, judge.to_k, judge.to_v, judge.out_proj):
            layer.weight.copy_(torch.eye(4))
            layer.bias.zero_()
    queries, keys, values = (
        tokens(m(s)) for m, s in [(attention.query, x), (attention.key, signal), (attention.value, signal)]
    )
    # MONAI takes keys and values from one signal: values as keys, and keys as values, must agree as well.
    torch.testing.assert_close(attend(queries, keys, keys, 0.5), judge(queries, keys))
    torch.testing.assert_close(attend(queries, values, values, 0.5), judge(queries, values))


def test_fused_kernels_see_no_difference_in_width(monkeypatch):
    query, key, value = image(2, 30, 2), image(2, 20, 2), image(2, 20, 8)
    plain = attend(query, key, value, 0.7)
    explicit = torch.softmax(query @ key.transpose(1, 2) * 0.7, dim=2) @ value
    monkeypatch.setattr(scaled_dot_product, "MAX_KEYS", 4)
    seen = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, *rest, **k: seen.append(q.shape[3]) or fused(q, *rest, **k)
    )
    torch.testing.assert_close(attend(query, key, value, 0.7), plain)
    torch.testing.assert_close(plain, explicit)
    assert seen == [8]


def test_row_of_a_voxel_sums_to_one_and_is_the_softmax():
    attention, x, signal = trained(CrossAttention(3, 4, 5)), image(2, 4, 4, 3, 2), image(2, 5, 2, 2, 1)
    row = attention.row(x, signal, (1, 2, 0))
    assert row.shape == (2, 1, 2, 2, 1)
    torch.testing.assert_close(row.sum(dim=(1, 2, 3, 4)), torch.ones(2, dtype=torch.float64))
    one = attention.query(x)[:, :, 1, 2, 0]
    products = torch.einsum("bc,bcn->bn", one, attention.key(signal).flatten(2)) / math.sqrt(2)
    torch.testing.assert_close(row.flatten(1), torch.softmax(products, dim=1))


def test_a_row_of_no_voxel():
    for voxel in ((4, 0), (0,), (-1, 0)):
        with pytest.raises(ValueError, match=r"voxel is .*: expected one index for each axis of the grid \(4, 3\)"):
            trained(SelfAttention(2, 8)).row(image(1, 8, 4, 3), None, voxel)


def test_keys_of_a_large_grid_are_averaged_and_it_is_said(caplog, monkeypatch):
    log_averaged_keys.cache_clear()
    monkeypatch.setattr(scaled_dot_product, "MAX_KEYS", 16)
    attention = SelfAttention(2, 8)
    with caplog.at_level(logging.INFO):
        weights = attention(torch.randn(1, 8, 16, 12)).weights
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


def test_received_map_of_many_queries_is_estimated_from_some(monkeypatch):
    """Also where every n-th of the voxels in a row would be a face of the volume."""
    attention, x = trained(SelfAttention(3, 8)), image(1, 8, 8, 8, 8)
    x[..., -1] += 10.0  # the face looks elsewhere than the rest
    x[..., 0] -= 10.0
    exact = attention(x).weights
    monkeypatch.setattr(scaled_dot_product, "MAX_QUERIES", 64)
    estimate = attention(x).weights
    assert estimate.shape == exact.shape
    assert float(estimate.mean()) == pytest.approx(1)
    assert np.corrcoef(estimate.flatten(), exact.flatten())[0, 1] > 0.9


def test_width_of_values_comes_back_from_the_fused_kernel(monkeypatch):
    monkeypatch.setattr(scaled_dot_product, "MAX_KEYS", 4)
    query, key, value = image(2, 30, 6), image(2, 20, 6), image(2, 20, 10)
    explicit = torch.softmax(query @ key.transpose(1, 2) * 0.7, dim=2) @ value
    torch.testing.assert_close(attend(query, key, value, 0.7), explicit)
