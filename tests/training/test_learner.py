import dataclasses
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.overrides import TorchFunctionMode

from attention_unet.attention import Attention
from attention_unet.attention.mechanisms import NAMES
from attention_unet.config import TrainingConfig
from attention_unet.machine.devices import make_fabric
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.preparation.loading import Batch
from attention_unet.training.learner import Learner, build_network
from attention_unet.training.losses import SegmentationLoss


def learner(presence_weight=0.2, ignoring=False, training=None, **attention):
    torch.manual_seed(0)
    network = AttentionUNet(Architecture(dims=2, out_channels=3, channels=(4, 8, 8), **attention))
    config = TrainingConfig(steps=1, precision="float32", presence_weight=presence_weight, **(training or {}))
    return Learner(network, config, make_fabric(config), overlapping=False, ignoring=ignoring)


def test_weights_are_averaged_over_a_thirtieth_of_the_steps_and_at_most_as_long_as_configured():
    learning = learner(skips="gate", training={"average": 0.08})
    batch = Batch(torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 16, 16))
    expected = [torch.zeros_like(weight) for weight in learning.network.parameters()]
    for share in (0, 2 / 31, 0.08, 0.08):  # 3 / 32 and 4 / 33 are above 0.08
        learning.learn(batch, 1e-2)
        weights = [weight.detach().clone() for weight in learning.network.parameters()]
        expected = [share * before + (1 - share) * now for before, now in zip(expected, weights, strict=True)]
        for average, known in zip(learning.averaged.parameters(), expected, strict=True):
            torch.testing.assert_close(average, known)


def test_what_is_not_annotated_reaches_the_loss():
    image, target = torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    target[:, :, :4], target[0, :, 8:] = 1, 255
    learning, losses = learner(skips="gate", ignoring=True), []
    for annotated in (None, torch.tensor([[True, False], [True, True]])):
        with torch.no_grad():
            expected = SegmentationLoss(False, True)(
                learning.network(image, full_output=True).logits, target, annotated
            )
        losses.append(learning.learn(Batch(image, target, annotated), 0.0).read_loss())  # nothing moves
        assert losses[-1] == pytest.approx(float(expected))
    assert abs(losses[0] - losses[1]) > 0.01


def test_gradients_are_clipped():
    learning = learner(skips="gate", training={"clip_norm": 1e-3})
    step = learning.learn(Batch(torch.randn(2, 1, 16, 16), torch.ones(2, 1, 16, 16)), 1e-2)
    gradients = [weight.grad for weight in learning.network.parameters() if weight.grad is not None]
    assert float(step.norm) > 1e-2
    assert float(torch.stack([gradient.norm() for gradient in gradients]).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_statistics_of_a_batch_normalisation_are_averaged_as_the_weights_are():
    learning = learner(skips="lee_gate")
    name = next(name for name, _ in learning.network.named_buffers() if name.endswith("running_mean"))
    batch = Batch(torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 16, 16))
    for _ in range(2):
        before = learning.averaged.get_buffer(name).clone()
        learning.learn(batch, 1e-2)
    own, average = learning.network.get_buffer(name), learning.averaged.get_buffer(name)
    torch.testing.assert_close(average, before + (own - before) * (1 - 2 / 31))
    assert not torch.equal(average, own)


@pytest.mark.parametrize("field", ["skips", "bottleneck"])
def test_encoding_learns_which_classes_are_there(field):
    image, target = torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    target[0, 0, :8] = 2
    losses = {}
    for weight in (0.0, 0.2):
        learning = learner(weight, **{"skips": "identity", field: "encoding"})
        teller = dict(learning.network.presence_encodings())[{"skips": 1, "bottleneck": 2}[field]]
        before = teller.classify.bias.detach().clone()  # a parameter without decay
        losses[weight] = learning.learn(Batch(image, target), 1e-2).read_loss()
        assert torch.equal(before, teller.classify.bias) == (weight == 0)
    assert losses[0.2] > losses[0.0]


class Reads(TorchFunctionMode):
    """Records the functions that read numbers of a device, for which the program waits."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in {"item", "tolist", "numpy", "cpu", "equal", "nonzero", "__bool__", "__int__", "__float__"}:
            self.names.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("skips", NAMES)
def test_a_step_reads_nothing_from_its_device(skips):
    learning = learner(skips=skips)
    batch = Batch(torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 16, 16))
    with Reads() as reads:
        step = learning.learn(batch, 0.01)
        assert reads.names == []
        step.read_loss()
    assert len(reads.names) == 1


def test_processes_draw_different_noise_also_after_a_resume(monkeypatch):
    def draw(rank, state=None, steps=1):
        monkeypatch.setattr(Fabric, "global_rank", property(lambda self: rank))
        learning, drawn = learner(skips="hard"), []
        if state:
            learning.restore(state)
        loss_of = learning._loss_of
        monkeypatch.setattr(learning, "_loss_of", lambda batch: drawn.append(torch.rand(3)) or loss_of(batch))
        for _ in range(steps):
            learning.learn(Batch(torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)), 0.01)
        return drawn[-1], learning.state()

    (first, state), (second, _), (again, _) = draw(0), draw(1), draw(1)
    assert not torch.equal(first, second)
    assert torch.equal(second, again)
    (unbroken, _), (resumed, _) = draw(1, steps=2), draw(1, state)
    assert torch.equal(unbroken, resumed)
    later = dataclasses.replace(state, step=7)
    (first_later, _), (second_later, _) = draw(0, later), draw(1, later)
    assert len({tuple(drawn.tolist()) for drawn in (first, second, first_later, second_later)}) == 4


def test_learning_rate_reaches_every_parameter():
    learning = learner(skips="gate")
    learning.learn(Batch(torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)), 0.0123)
    assert {group["lr"] for group in learning.optimizer.param_groups} == {0.0123}


def weights_of_convolutions(network):
    return [m.weight for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


@pytest.mark.parametrize(
    "attention",
    [
        {"skips": {0: "gate", 1: "multi_gate"}},
        {"skips": "identity", "encoder": "gct", "decoder": "scse"},
        {"skips": "se", "bottleneck": "nonlocal", "inputs": "se"},
        {"skips": "identity", "encoder": "se", "block": "residual"},
    ],
)
def test_layers_outside_of_attention_start_the_same(attention):
    sizes = {"dims": 2, "channels": (8, 12, 16), "block": attention.pop("block", "plain")}
    torch.manual_seed(5)
    plain = AttentionUNet(Architecture(**sizes, skips="identity"))
    for seed, same in ((5, True), (6, False)):
        torch.manual_seed(seed)
        network = build_network(SimpleNamespace(architecture=Architecture(**sizes, **attention)))
        mechanisms = list(network.attentions().values())
        inside = {id(p) for m in network.modules() if isinstance(m, Attention) for p in m.parameters()}
        outside = [w for w in weights_of_convolutions(network) if id(w) not in inside]
        assert mechanisms or attention["encoder"] == "gct"
        assert len(outside) == len(weights_of_convolutions(plain))
        pairs = zip(outside, weights_of_convolutions(plain), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same


def test_without_attention_nothing_is_drawn_anew():
    architecture = Architecture(dims=2, channels=(8, 12), skips="identity")
    torch.manual_seed(3)
    expected, following = AttentionUNet(architecture).state_dict(), torch.rand(3)
    torch.manual_seed(3)
    found = build_network(SimpleNamespace(architecture=architecture)).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert torch.equal(torch.rand(3), following)
