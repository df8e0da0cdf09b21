import torch

from attention_unet.attention.base import Place
from attention_unet.attention.spatial.multi_gate import MultiGate
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve


def test_gated_copies_are_joined_by_a_convolution():
    attention, x, signal = trained(MultiGate(Place(2, 4, 5))), image(1, 4, 6, 4), image(1, 5, 3, 2)
    copies = torch.cat([gate(x, signal).features for gate in attention.gates], dim=1)[0].detach().numpy()
    expected = convolve(copies, arrays(attention)["combine.weight"], arrays(attention)["combine.bias"])
    features, weights = attention(x, signal)
    torch.testing.assert_close(features[0], torch.from_numpy(expected))
    torch.testing.assert_close(weights, sum(gate(x, signal).weights for gate in attention.gates) / 2)


def test_starts_as_the_mean_of_its_gates():
    attention, x, signal = MultiGate(Place(2, 4, 5)).double(), image(1, 4, 6, 4), image(1, 5, 3, 2)
    features, weights = attention(x, signal)
    torch.testing.assert_close(features, x * weights)


def test_gates_are_different():
    attention, x, signal = trained(MultiGate(Place(2, 4, 5))), image(1, 4, 6, 4), image(1, 5, 3, 2)
    first, second = (gate(x, signal) for gate in attention.gates)
    assert not torch.allclose(first.weights, second.weights)
