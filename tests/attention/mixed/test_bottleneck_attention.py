import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.mixed.bottleneck_attention import BottleneckAttention
from tests.attention.build import arrays, image, trained
from tests.reference import mixed


@pytest.mark.parametrize(("combine", "dilation"), [("add", 4), ("multiply", 2)])
@pytest.mark.parametrize("grid", [(6, 5), (3, 6, 2)])
def test_equals_the_equation(grid, combine, dilation):
    place = Place(len(grid), 16, 16)
    attention = trained(BottleneckAttention(place, reduction=2, combine=combine, dilation=dilation), std=0.3)
    p, x = arrays(attention), image(1, 16, *grid)
    channel = [p[f"channel.{i}.{kind}"] for i in (0, 2) for kind in ("weight", "bias")]
    convolutions = [(p[f"spatial.{i}.weight"], p[f"spatial.{i}.bias"]) for i in (0, 3, 6, 9)]
    norms = [(p[f"spatial.{i}.weight"], p[f"spatial.{i}.bias"]) for i in (1, 4, 7)]
    expected = mixed.bottleneck(x[0].numpy(), channel, (convolutions, norms), dilation, combine == "multiply")
    torch.testing.assert_close(attention(x).weights[0], torch.from_numpy(expected))


def test_width_and_taps_are_the_published_ones():
    attention = BottleneckAttention(Place(2, 256, 256, init="paper"))
    assert attention.channel[0].out_features == attention.spatial[0].out_channels == 16
    assert attention.spatial[3].dilation == (4, 4)


@pytest.mark.parametrize("combine", ["add", "multiply"])
def test_both_ways_start_equally_open(combine):
    weights = BottleneckAttention(Place(2, 16, 16), combine=combine)(torch.randn(1, 16, 8, 8)).weights
    assert weights.mean().item() == pytest.approx(1 + torch.sigmoid(torch.tensor(3.0)).item(), abs=0.01)
