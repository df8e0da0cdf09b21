import pytest
import torch

from attention_unet.network import Architecture, AttentionUNet

SMALL = (4, 6, 8)
SKIPS = ["identity", "gate", "spatial", ["gate", "spatial"]]


def small(dims=3, **options):
    torch.manual_seed(0)
    return AttentionUNet(Architecture(dims=dims, in_channels=1, out_channels=3, channels=SMALL, **options))


@pytest.mark.parametrize("skips", SKIPS, ids=str)
@pytest.mark.parametrize("block", ["plain", "residual"])
@pytest.mark.parametrize("dims", [2, 3])
def test_any_size(dims, block, skips):
    net = small(dims, block=block, skips=skips).eval()
    for size in ((8, 8, 8), (13, 7, 5), (1, 9, 4), (1, 1, 1)):
        x = torch.randn(1, 1, *size[:dims])
        assert net(x).shape == (1, 3, *size[:dims])


@pytest.mark.parametrize("dims", [2, 3])
def test_anisotropic_strides_and_kernels(dims):
    strides = [(1, 2, 2)[-dims:], (2, 2, 1)[-dims:]]
    kernels = [(1, 3, 3)[-dims:], 3, 3]
    net = small(dims, strides=strides, kernels=kernels)
    x = torch.randn(2, 1, *(5, 12, 9)[-dims:])
    logits = net(x, full_output=True).logits
    assert [tuple(level.shape[2:]) for level in logits] == [
        tuple(x.shape[2:]),
        tuple(-(-n // s) for n, s in zip(x.shape[2:], strides[0], strict=True)),
    ]


def test_coarser_logits_in_training_only():
    net = small()
    x = torch.randn(1, 1, 8, 8, 8)
    finest, coarser = net.train()(x, full_output=True).logits
    assert (finest.shape, coarser.shape) == ((1, 3, 8, 8, 8), (1, 3, 4, 4, 4))
    assert torch.equal(net(x), finest)
    (only,) = net.eval()(x, full_output=True).logits
    assert torch.equal(only, finest)
    assert len(small(deep_supervision=False).train()(x, full_output=True).logits) == 1


def test_each_gate_is_fed_by_the_next_coarser_decoder_level():
    torch.manual_seed(0)
    net = AttentionUNet(Architecture(dims=2, channels=(4, 4, 4, 4), levels=[0, 1, 2])).eval()
    for level in net.decoder:
        torch.nn.init.normal_(level.attention.psi.weight, std=1.0)
    x = torch.randn(1, 1, 16, 16)
    before = net(x, full_output=True).weights
    # The decoder's first entry serves level 2: what it gives feeds the gates of level 1 and, from there, of level 0.
    torch.nn.init.normal_(net.decoder[0].up.weight, std=2.0)
    after = net(x, full_output=True).weights
    assert torch.equal(before["skip 2"], after["skip 2"])
    assert not torch.equal(before["skip 1"], after["skip 1"])
    assert not torch.equal(before["skip 0"], after["skip 0"])


def test_closed_gates_cut_the_skip_and_open_gates_are_a_plain_unet():
    gated, plain = small(skips="gate").eval(), small(skips="identity").eval()
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if ".psi." not in k and ".project_" not in k})
    x = torch.randn(1, 1, 8, 8, 8)
    torch.nn.init.constant_(gated.attentions()["skip 1"].psi.bias, 60.0)
    torch.testing.assert_close(gated(x), plain(x))
    torch.nn.init.constant_(gated.attentions()["skip 1"].psi.bias, -60.0)
    assert not torch.allclose(gated(x), plain(x))


@pytest.mark.parametrize(
    ("dims", "skips"),
    [pytest.param(d, s, marks=[] if (d, s) == (2, "gate") else pytest.mark.long) for d in (2, 3) for s in SKIPS],
    ids=str,
)
def test_exports_and_compiles(dims, skips):
    net = small(dims, skips=skips).eval()
    x = torch.randn(2, 1, *(12, 9, 7)[:dims])
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), net(x))
    # With free sizes the exporter settles on one way of rounding: here, on multiples of the strides.
    even, larger = torch.randn(2, 1, *(12, 8, 16)[:dims]), torch.randn(3, 1, *(8, 16, 12)[:dims])
    free = dict.fromkeys((0, *range(2, 2 + dims)), torch.export.Dim.AUTO)
    exported = torch.export.export(net, (even,), dynamic_shapes=(free,)).module()
    torch.testing.assert_close(exported(larger), net(larger))
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": 4}, "dims must be 2 or 3, got 4"),
        ({"channels": (8,)}, "at least two levels"),
        ({"dims": "3"}, "dims must be 2 or 3, got '3'"),
        ({"out_channels": 0}, "must be at least 1, got in_channels 1, out_channels 0"),
        ({"strides": (0, 2, 2)}, r"must be at least 1, .* strides \(0, 2, 2\)"),
        ({"convs": 0}, "blocks need at least one convolution, got 0 and 2"),
        ({"decoder_convs": 0}, "blocks need at least one convolution, got 2 and 0"),
        ({"channels": (8, 16), "strides": (2, 2)}, "need 1 strides and 2 kernels, got 2 and 2"),
        ({"channels": (8, 16), "kernels": (2, 3)}, "kernels must be odd"),
        ({"init": "closed"}, "init is 'closed': expected open or paper"),
        ({"block": "dense"}, "no block is called 'dense'; there are plain, residual"),
        ({"strides": [(2, 2), 2, 2]}, r"expected one value, or one for each of the 3 axes, got \[2, 2\]"),
    ],
)
def test_wrong_arguments_say_what_is_right(options, message):
    with pytest.raises(ValueError, match=message):
        AttentionUNet(Architecture(**options))
