import pytest
import torch

from attention_unet.config import TrainingConfig
from attention_unet.machine.devices import make_fabric
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.training.learner import Learner, parameter_groups


def learner(presence_weight=0.2, **attention):
    torch.manual_seed(0)
    network = AttentionUNet(Architecture(dims=2, out_channels=3, channels=(4, 8, 8), **attention))
    config = TrainingConfig(steps=1, precision="float32", presence_weight=presence_weight)
    return Learner(network, config, make_fabric(config), overlapping=False)


def test_only_weights_decay():
    network = AttentionUNet(Architecture(dims=2, channels=(4, 8, 8), encoder="gct"))
    decayed, kept = parameter_groups(network, 0.3)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    names = {id(p): name for name, p in network.named_parameters()}
    held = {names[id(p)].rsplit(".", 1)[1] for p in kept["params"]}
    assert held == {"alpha", "beta", "gamma", "weight", "bias"}  # weight: scales of normalisations
    assert all(p.dim() > 1 for p in decayed["params"])
    assert len(decayed["params"]) + len(kept["params"]) == len(names)


@pytest.mark.parametrize("field", ["skips", "bottleneck"])
def test_encoding_learns_which_classes_are_there(field):
    image, target = torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    target[0, 0, :8] = 2
    losses = {}
    for weight in (0.0, 0.2):
        learning = learner(weight, **{"skips": "identity", field: "encoding"})
        teller = dict(learning.network.presence_encodings())[{"skips": 1, "bottleneck": 2}[field]]
        before = teller.classify.bias.detach().clone()  # a parameter without decay
        losses[weight] = learning.learn(image, target, 1e-2)
        assert torch.equal(before, teller.classify.bias) == (weight == 0)
    assert losses[0.2] > losses[0.0]


def test_learning_rate_reaches_every_parameter():
    learning = learner(skips="gate")
    learning.learn(torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 16, 16), 0.0123)
    assert {group["lr"] for group in learning.optimizer.param_groups} == {0.0123}
