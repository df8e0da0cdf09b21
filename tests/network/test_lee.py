"""The variant that most public code has, against MONAI's, weight by weight."""

import pytest
import torch
from monai.networks.nets import AttentionUnet

from attention_unet.network import AttentionUNet

CHANNELS = (4, 6, 8, 10)


def in_order_of_monai(net):
    """Our modules with parameters, in the order in which MONAI's nest."""
    levels = list(zip(list(net.encoder)[1:], list(net.decoder)[::-1], strict=True))
    modules = [net.encoder[0]]

    def nest(level):
        block, decode = levels[level]
        attention = decode.attention
        modules.extend([attention.project_gate, attention.project_x, attention.psi, decode.up, decode.block, block])
        if level + 1 < len(levels):
            nest(level + 1)

    nest(0)
    return [*modules, *net.heads]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_equals_monai_with_its_weights(dims, training):
    torch.manual_seed(0)
    judge = AttentionUnet(dims, 1, 3, CHANNELS, strides=(2, 2, 2)).train(training)
    net = AttentionUNet.lee(dims, 1, 3, CHANNELS).train(training)
    tensors = list(judge.state_dict().values())
    for tensor in tensors:  # running statistics too: their start would hide a swap
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    ours = [tensor for module in in_order_of_monai(net) for tensor in module.state_dict().values()]
    assert [t.shape for t in ours] == [t.shape for t in tensors]
    for own, tensor in zip(ours, tensors, strict=True):
        own.copy_(tensor)
    x = torch.randn(2, 1, *(16, 24, 8)[:dims])
    torch.testing.assert_close(net(x), judge(x), atol=1e-4, rtol=1e-4)


def test_takes_any_size_and_gives_maps_of_every_level():
    net = AttentionUNet.lee(3, 1, 3, CHANNELS).eval()
    (logits,), maps, _ = net(torch.randn(1, 1, 13, 9, 7), full_output=True)
    assert logits.shape == (1, 3, 13, 9, 7)
    assert {place: tuple(m.shape[1:]) for place, m in maps.items()} == {
        "skip 0": (1, 13, 9, 7), "skip 1": (1, 7, 5, 4), "skip 2": (1, 4, 3, 2)
    }  # fmt: skip
