"""Where attention sits."""

import dataclasses
import json

import pytest
import torch
from torch.nn import functional as F

from attention_unet.attention import Attention, Place
from attention_unet.attention.channel.gated_channel import GatedChannelTransformation
from attention_unet.attention.channel.squeeze_excitation import SqueezeExcitation
from attention_unet.layers.normalization import EightChannelNorm
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.network.blocks import Block


def net(**options):
    torch.manual_seed(0)
    options = {"dims": 2, "out_channels": 3, "channels": (4, 6, 8, 10), "skips": "identity", **options}
    return AttentionUNet(Architecture(**options))


def attended(network):
    """Return the class of each attention by its place."""
    return {place: type(attention).__name__ for place, attention in network.attentions().items()}


def names(modules):
    return [type(module).__name__ for module in modules]


def test_levels_of_skips_and_blocks():
    assert attended(net(skips="gate")) == {"skip 1": "AdditiveGate", "skip 2": "AdditiveGate"}
    se = net(encoder="se", decoder="se", levels=[0, 2])
    expected = ["SqueezeExcitation", "Identity", "SqueezeExcitation"]
    assert names(block.attention for block in se.encoder) == [*expected, "Identity"]
    assert names(block.attention for block in net(encoder="se").encoder) == ["Identity", *["SqueezeExcitation"] * 3]
    assert names(level.block.attention for level in se.decoder) == expected[::-1]
    assert names([net(bottleneck="nonlocal").bottleneck]) == ["NonLocalBlock"]


@pytest.mark.parametrize("keys", [int, str])
def test_each_level_its_own(keys):
    spec = {keys(0): "spatial", keys(2): ["se", "gate"]}
    own = net(skips=spec, levels=[1])
    assert attended(own) == {"skip 0": "PooledSpatialAttention", "skip 2": "Sequential"}
    assert own.architecture.attention("skips") == {0: "spatial", 2: ["se", "gate"]}
    wrapped = Architecture(skips={"parallel": ["se", "sse"]}, levels=[1])
    assert wrapped.attention("skips") == {1: {"parallel": ["se", "sse"]}}


@pytest.mark.parametrize(("norm", "expected"), [("instance", {"InstanceNorm"}), ("group", {"EightChannelNorm"})])
@pytest.mark.parametrize("attention", [{}, {"skips": "se", "encoder": "se", "decoder": "scse", "bottleneck": "se"}])
def test_normalisation_can_be_set_for_all_blocks(norm, expected, attention):
    network = net(norm=norm, block="residual", **attention)
    blocks = [*network.encoder, *(level.block for level in network.decoder)]
    found = {type(m).__name__ for block in blocks for m in [*block.body.modules(), *block.shortcut.modules()]}
    assert {name for name in found if name.endswith("Norm") and name != "ConvNorm"} == expected
    with pytest.raises(ValueError, match="no normalisation is called 'batch'; there are instance, group"):
        net(norm="batch")


def test_a_plan_written_and_read_builds_the_same_network():
    first = net(
        skips={1: "gate", 2: {"recursive": "gate", "times": 2}},
        encoder={"parallel": ["se", "sse"], "combine": "add"},
        decoder="gct",
        bottleneck="encoding",
        block="residual",
        init="paper",
    ).eval()
    again = AttentionUNet(Architecture(**json.loads(json.dumps(dataclasses.asdict(first.architecture))))).eval()
    again.load_state_dict(first.state_dict())
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(first(x), again(x))
    assert again.architecture.attention("skips") == first.architecture.attention("skips")


def block(attention, residual=True, norm=None):
    torch.manual_seed(0)
    return Block(2, 4, 4, (3, 3), (1, 1), 2, residual, attention, Place(2, 4, 4), norm).eval()


@pytest.mark.parametrize("residual", [True, False])
def test_attention_comes_after_the_last_normalisation_and_before_the_addition(residual):
    own, x = block("se", residual), torch.randn(2, 4, 6, 6)
    branch = own.attention(own.body(x)).features
    expected = F.leaky_relu(branch + x if residual else branch, 0.01)
    torch.testing.assert_close(own(x).features, expected)


def test_no_attention_is_a_plain_residual_block_bit_for_bit():
    plain, x = block("identity"), torch.randn(2, 4, 6, 6)
    assert torch.equal(plain(x).features, F.leaky_relu(plain.body(x) + x, 0.01))


def test_closed_attention_leaves_the_shortcut():
    closed, x = block("sse"), torch.randn(2, 4, 6, 6)
    torch.nn.init.constant_(closed.attention.squeeze.bias, -60.0)
    torch.testing.assert_close(closed(x).features, F.leaky_relu(x, 0.01))


def test_gct_sits_before_each_convolution():
    gct = block("gct")
    assert names(gct.body) == ["FeaturesOf", "ConvNorm", "LeakyReLU", "FeaturesOf", "ConvNorm"]
    assert names([gct.attention]) == ["Identity"]
    inside = [m for m in gct.modules() if isinstance(m, GatedChannelTransformation)]
    assert len(inside) == 2
    plain, x = block("identity", norm=EightChannelNorm), torch.randn(2, 4, 6, 6)
    plain.load_state_dict(
        dict(zip(plain.state_dict(), [v for k, v in gct.state_dict().items() if "attention" not in k], strict=True))
    )
    torch.testing.assert_close(gct(x).features, plain(x).features)  # it starts as the identity
    torch.nn.init.constant_(inside[0].gamma, 1.0)
    assert not torch.allclose(gct(x).features, plain(x).features)


@pytest.mark.parametrize("place", ["encoder", "decoder", "bottleneck"])
def test_only_skips_have_a_gating_signal(place):
    with pytest.raises(ValueError, match="'gate' needs the decoder's coarser signal, which only skips have"):
        net(**{place: "gate"})


def test_levels_that_are_not_there():
    with pytest.raises(ValueError, match=r"encoder can have attention on levels 0 to 3 of this network, got \[4\]"):
        net(encoder={1: "se", 4: "se"})
    with pytest.raises(ValueError, match=r"decoder can have attention on levels 0 to 2 of this network, got \[3\]"):
        net(decoder={3: "se"})
    for levels in ([], [4], [-1]):
        with pytest.raises(ValueError, match=r"levels are \[.*\]: expected some of 0 to 3, the levels of this network"):
            net(encoder="se", levels=levels)
    for nowhere in ({"skips": {}}, {"skips": "gate", "levels": [3]}):
        with pytest.raises(
            ValueError, match="would be on no level of this network: expected some of 0 to 2, or identity"
        ):
            net(**nowhere)


def test_levels_are_those_that_a_place_has():
    """The coarsest level has a block of the encoder, and neither a skip nor a decoder."""
    both = net(skips="gate", encoder="se", levels=[2, 3])
    assert names(block.attention for block in both.encoder) == ["Identity"] * 2 + ["SqueezeExcitation"] * 2
    assert {place: name for place, name in attended(both).items() if "skip" in place} == {"skip 2": "AdditiveGate"}
    assert net(encoder="se", levels=[3]).architecture.attention("skips") == {}


def test_the_only_skip_is_attended():
    assert attended(AttentionUNet(Architecture(channels=(4, 8)))) == {"skip 0": "AdditiveGate"}


def test_errors_say_where():
    for wrong, where in [
        ({"skips": {1: "gat"}}, r"skips, level 1: no attention mechanism is called 'gat' \(did you mean gate\?\)"),
        ({"encoder": "gate"}, "encoder, level 1: attention 'gate' needs the decoder's coarser signal"),
        ({"bottleneck": {1: "se"}}, "bottleneck: expected a name with options"),
        ({"skips": {1: "gate", "residual": "se"}}, "skips, level 1: expected a name with options"),
        ({"decoder": "se,eca"}, r"decoder, level 2: .* \(write several as a list: \[se, gate\]\)"),
    ]:
        with pytest.raises(ValueError, match=where):
            net(**wrong)


def test_the_start_is_passed_on():
    gates = (net(skips="gate", init=init).attentions()["skip 1"].psi.bias.item() for init in ("open", "paper"))
    assert list(gates) == [3.0, 0.0]


def test_every_place_gives_its_map():
    everywhere = {1: "spatial"}
    own = net(skips="gate", bottleneck="nonlocal", encoder=everywhere, decoder=everywhere, inputs="sse").eval()
    weights = own(torch.randn(1, 1, 16, 16), full_output=True).weights
    fine = {"inputs": (1, 1, 16, 16), **dict.fromkeys(["skip 1", "encoder 1", "decoder 1"], (1, 1, 8, 8))}
    assert {place: tuple(w.shape) for place, w in weights.items()} == {
        **fine, "skip 2": (1, 1, 4, 4), "bottleneck": (1, 1, 2, 2)
    }  # fmt: skip
    assert set(weights) == set(own.attentions())
    assert own.train()(torch.randn(1, 1, 16, 16), full_output=True).weights == {}  # training pays nothing for maps


def test_presence_is_told_where_encoding_stands_alone():
    x = torch.randn(2, 1, 16, 16)
    both = net(skips={1: "encoding", 2: ["se", "encoding"]}, bottleneck="encoding", encoder="encoding")
    assert [level for level, _ in both.presence_encodings()] == [1, 3]
    logits, _, presence = both(x, full_output=True)
    assert len(logits) == 3
    assert [tuple(told.shape) for told in presence] == [(2, 3), (2, 3)]
    skip = both.encoder[1](both.encoder[0](x).features).features
    torch.testing.assert_close(presence[0], both.attentions()["skip 1"].presence(skip))
    assert both.eval()(x, full_output=True).presence == []  # prediction pays nothing for it
    assert net().presence_encodings() == []
    for alone in (["encoding"], {"encoding": {"codewords": 8}}, [{"encoding": {"codewords": 8}}]):
        assert [level for level, _ in net(skips=alone).presence_encodings()] == [1, 2]


def test_presets():
    control = AttentionUNet.unet()
    assert attended(control) == {}
    oktay = AttentionUNet.oktay2018()
    assert attended(oktay) == {f"skip {level}": "AdditiveGate" for level in (1, 2, 3)}
    assert len(oktay.heads) == 4
    cbam = AttentionUNet.cbam(dims=2)
    assert all(b.residual and names(b.attention.parts)[0] == "MeanMaximumExcitation" for b in cbam.encoder)
    assert cbam.encoder[0].attention.parts[1].conv.bias is None  # as published
    scse = AttentionUNet.scse()
    assert all(names(level.block.attention.parts) == ["SqueezeExcitation", "ChannelSqueeze"] for level in scse.decoder)
    assert all(isinstance(b.attention.parts[0], SqueezeExcitation) for b in scse.encoder)
    for preset in (control, oktay, scse):
        assert preset.eval()(torch.randn(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)
    assert cbam.eval()(torch.randn(1, 1, 16, 16)).shape == (1, 2, 16, 16)


CHANNEL = ["se", "cbam_channel", "eca", "gct", "gaussian_ct", "srm", "fca", "cbam", "scse", "encoding", "gsop"]


@pytest.mark.parametrize("place", ["encoder", "skips", "bottleneck"])
@pytest.mark.parametrize("name", CHANNEL)
def test_weights_of_channels_depend_on_the_image(name, place):
    """After instance normalisation the mean of a channel is the same for every image, and nothing would be attended."""
    network = net(**{place: name}, channels=(8, 16, 16))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.5)
    seen = []
    places = {"encoder": network.encoder[1], "skips": network.decoder[0].attention, "bottleneck": network.bottleneck}
    for module in places[place].modules():
        if isinstance(module, Attention) and module.kind == "channel":
            module.register_forward_hook(lambda _, __, attended: seen.append(attended.weights.flatten(1)))
    network.eval()
    smooth, rough = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32), torch.randn(1, 1, 32, 32)
    network(smooth)
    first, seen[:] = seen[0], []
    network(rough)
    assert float((seen[0] - first).abs().max()) > 0.001


@pytest.mark.parametrize("spec", ["encoding", ["encoding"], ["se", "encoding"], {"residual": "encoding"}])
@pytest.mark.parametrize("place", ["skips", "bottleneck", "encoder"])
def test_every_parameter_of_encoding_learns_wherever_it_sits(place, spec):
    """One without a gradient would stop a training on several devices."""
    network = net(**{place: spec})
    logits, _, presence = network(torch.randn(2, 1, 16, 16), full_output=True)
    (sum(level.sum() for level in logits) + sum(told.sum() for told in presence)).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
