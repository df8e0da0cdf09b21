import pytest
import torch
from monai.networks.nets.swin_unetr import WindowAttention as MonaiWindow

from attention_unet.attention.base import Place
from attention_unet.attention.pairwise.window import WindowAttention
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve
from tests.reference.heads import box_mates, gather, offset_number


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("grid", "size"), [((7, 4), 3), ((4, 6), 4), ((5, 3, 2), 2)])
def test_equals_the_equation(grid, size, shifted):
    attention = trained(WindowAttention(Place(len(grid), 4, 4), size=size, shifted=shifted, heads=2))
    p, x = arrays(attention), image(2, 4, *grid)
    result = attention(x, with_map=True)
    mates = box_mates(grid, size, size // 2 if shifted else 0)
    for case, features, weights in zip(x.numpy(), result.features, result.weights, strict=True):
        query, key, value = (convolve(case, p[f"{n}.weight"], p[f"{n}.bias"]) for n in ("query", "key", "value"))
        gathered, received = gather(
            query, key, value, 2, 2**-0.5, mates, lambda h, q, k: p["offset_bias"][offset_number(q, k, size), h]
        )
        expected = case + convolve(gathered, p["project.weight"], p["project.bias"])
        torch.testing.assert_close(features, torch.from_numpy(expected))
        torch.testing.assert_close(weights[0], torch.from_numpy(received))


def test_sizes_and_heads():
    assert WindowAttention(Place(2, 8, 8)).size == 7
    assert WindowAttention(Place(3, 8, 8)).size == 4
    assert WindowAttention(Place(3, 6, 6)).heads == 2
    assert 0.01 < WindowAttention(Place(3, 8, 8)).offset_bias.std() < 0.03


@pytest.mark.parametrize("grid", [(4, 4), (4, 4, 4)])
def test_equals_monai_on_one_window(grid):
    attention, x = trained(WindowAttention(Place(len(grid), 8, 8), size=4, heads=2)), image(1, 8, *grid)
    judge = MonaiWindow(8, 2, grid, qkv_bias=True).double().eval()
    with torch.no_grad():
        layers = (attention.query, attention.key, attention.value)
        judge.qkv.weight.copy_(torch.cat([layer.weight.flatten(1) for layer in layers]))
        judge.qkv.bias.copy_(torch.cat([layer.bias for layer in layers]))
        judge.relative_position_bias_table.copy_(attention.offset_bias)
        judge.proj.weight.copy_(attention.project.weight.flatten(1))
        judge.proj.bias.copy_(attention.project.bias)
    expected = judge(x.flatten(2).transpose(1, 2), None).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(attention(x).features - x, expected)
