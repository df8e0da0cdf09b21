"""The open start, and precision: what a training would suffer from without a word."""

import pytest
import torch

from attention_unet.attention import build
from attention_unet.attention.base import Place
from attention_unet.attention.channel.context_encoding import ContextEncoding
from attention_unet.attention.channel.gated_channel import GatedChannelTransformation
from attention_unet.attention.channel.gaussian_context import GaussianContextTransformer
from attention_unet.attention.spatial.additive_gate import AdditiveGate
from attention_unet.attention.spatial.hard_gate import logistic_noise
from attention_unet.attention.spatial.lee_gate import LeeGate

ONE_SIGMOID = ["se", "cbam_channel", "eca", "srm", "gsop", "fca", "encoding", "decoder_channel", "spatial"]
ONE_SIGMOID += ["conv_spatial", "sse", "gate", "multi_gate", "project_excite", "triplet", "bilinear"]


@pytest.mark.parametrize("name", ONE_SIGMOID)
def test_starts_at_the_sigmoid_of_three(name):
    """0.95: open, and not so far that its gradient is lost. Also where two answers are added before the sigmoid."""
    torch.manual_seed(0)
    attention = build(name, dims=3, channels=32, gate_channels=32).eval()
    weights = attention(torch.randn(2, 32, 8, 8, 8), torch.randn(2, 32, 4, 4, 4)).weights
    assert weights.mean().item() == pytest.approx(0.9526, abs=0.01)


def test_a_gate_starts_with_features_that_differ():
    """Only the answer is small at the start: its hidden features and their weights are not."""
    torch.manual_seed(0)
    for init, spread, bias in (("open", 0.01, 3), ("paper", 32**-0.5, 0)):
        gate = AdditiveGate(Place(3, 64, 64, init=init))
        assert gate.psi.weight.std().item() == pytest.approx(spread, rel=0.3)
        assert gate.psi.bias.item() == bias
        assert gate.project_gate.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
        assert gate.project_x.weight.std().item() == pytest.approx((2 / (64 * 8)) ** 0.5, rel=0.02)
        assert not gate.project_gate.bias.any()


def test_the_gate_of_public_code_starts_open_in_training():
    """Its last normalisation would otherwise spread the weights about the bias."""
    torch.manual_seed(0)
    gate = LeeGate(Place(2, 16, 16)).train()
    weights = gate(torch.randn(2, 16, 16, 16), torch.randn(2, 16, 8, 8)).weights
    assert weights.std() < 0.02


def test_codewords_start_apart_and_the_nearest_has_the_largest_share():
    torch.manual_seed(0)
    encoding = ContextEncoding(Place(2, 16, 16))
    assert torch.cdist(encoding.codewords, encoding.codewords)[0, 1:].min() > 0.05
    bound = (32 * 16) ** -0.5
    assert 0.95 * bound < encoding.codewords.abs().max() <= bound
    assert 0 < encoding.scales.min() < 0.15
    assert 0.85 < encoding.scales.max() < 1
    assert encoding.project.weight.std().item() == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize(("channels", "half"), [(1, 1), (3, 1), (4, 2), (16, 8)])
def test_half_of_the_channels_is_at_least_one(channels, half):
    assert AdditiveGate(Place(2, channels, 4)).psi.in_channels == half
    lee = build("lee_gate", dims=2, channels=channels).psi
    assert lee[0].in_channels == half
    assert build("nonlocal", dims=2, channels=channels).project.in_channels == half
    assert lee[1].weight.item() == pytest.approx(0.1)
    polarized = build("polarized", dims=2, channels=channels)
    assert polarized.channel_value.out_channels == polarized.spatial_query.out_channels == half
    assert torch.equal(polarized.norm.weight, torch.full((channels,), 0.1))


def test_several_gates_share_half_of_the_channels():
    for channels, gates, hidden in ((4, 2, 1), (4, 4, 1), (16, 2, 4)):
        built = build({"multi_gate": {"gates": gates}}, dims=2, channels=channels)
        assert [gate.psi.in_channels for gate in built.gates] == [hidden] * gates


@pytest.mark.parametrize(("channels", "quarter"), [(1, 1), (7, 1), (8, 2)])
def test_a_mask_branch_has_a_quarter_of_the_channels_inside(channels, quarter):
    branch = build("residual_mask", dims=2, channels=channels).inner
    assert branch.fine.body[2].out_channels == branch.coarse.body[2].out_channels == quarter


def test_a_state_space_starts_with_an_output_of_unit_variance():
    """Of the states of both directions together."""
    torch.manual_seed(0)
    for states in (2, 8):
        output = build({"state_space": {"states": states}}, dims=2, channels=64).output
        assert output.std().item() == pytest.approx((2 * states) ** -0.5, rel=0.1)


def test_dynamic_convolution_starts_without_biases_and_has_a_hidden_channel_at_least():
    assert float(build("dynamic_conv", dims=2, channels=8).bias.detach().abs().max()) == 0
    for channels, hidden in ((2, 1), (7, 1), (8, 2)):
        assert build("dynamic_conv", dims=2, channels=channels).reduce.out_features == hidden


@pytest.mark.parametrize(("channels", "width"), [(16, 4), (128, 8), (1024, 16)])
def test_widths_of_bilinear_attention(channels, width):
    assert build("bilinear", dims=2, channels=channels).reduce[0].out_channels == width


@pytest.mark.parametrize("name", ["gct", "gaussian_ct", "srm", "fca", "simam"])
def test_sums_over_many_voxels_are_precise_in_bfloat16(name):
    """Eight bits lose what is added to a large sum; these add in float32."""
    torch.manual_seed(0)
    attention = build(name, dims=2, channels=16).bfloat16()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    x = (5 + torch.randn(1, 16, 96, 96) + torch.randn(1, 16, 1, 1)).bfloat16()
    own = attention(x).weights.float()
    torch.testing.assert_close(own, attention.float()(x.float()).weights, atol=0.01, rtol=0)


def test_what_is_nearly_nothing_is_not_blown_up():
    """Means that differ by a thousandth are alike, and an image of nearly zeros is not normalised to one."""
    x = torch.ones(1, 8, 4, 4) + 1e-3 * torch.linspace(0, 1, 8)[None, :, None, None]
    assert GaussianContextTransformer(Place(2, 8, 8))(x).weights.min() > 0.98
    gct = GatedChannelTransformation(Place(2, 8, 8))
    torch.nn.init.ones_(gct.gamma)
    assert gct(1e-4 * torch.ones(1, 8, 4, 4)).weights.max() < 1.2
    assert gct(torch.ones(1, 8, 4, 4)).weights.min() > 1.7


def test_noise_of_hard_gates_reaches_far_and_stays_finite(monkeypatch):
    """A gate that is nearly sure is still opened at times: once in ten thousand draws, not once in a hundred."""
    monkeypatch.setattr(torch, "rand_like", lambda like, dtype: torch.tensor([0.0, 1e-4, 0.5, 1.0], dtype=dtype))
    noise = logistic_noise(torch.zeros(4))
    assert noise.isfinite().all()
    torch.testing.assert_close(noise[1:3], torch.logit(torch.tensor([1e-4, 0.5])))
    assert noise[3] > 12
