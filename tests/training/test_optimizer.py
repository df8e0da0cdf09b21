import copy

import numpy as np
import pytest
import torch
from torch import nn

from attention_unet.config import TrainingConfig
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.training.optimizer import MuonAndAdamW, orthogonal, split_parameters


def network(**attention):
    torch.manual_seed(0)
    return AttentionUNet(Architecture(dims=2, channels=(4, 8, 8), **attention))


def names_of(parameters, module):
    names = {id(p): name for name, p in module.named_parameters()}
    return {names[id(p)] for p in parameters}


def test_convolutions_outside_of_attention_and_heads_get_muon():
    net = network(encoder="gct", skips="gate")
    weights, decayed, kept = (names_of(some, net) for some in split_parameters(net))
    assert len(weights) + len(decayed) + len(kept) == len([*net.parameters()])
    assert {"encoder.0.body.0.0.weight", "decoder.0.up.weight"} <= weights
    assert not [name for name in weights if "attention" in name or "heads" in name]
    assert {"heads.0.weight", "decoder.0.attention.project_x.weight"} <= decayed
    assert {name.rsplit(".", 1)[1] for name in kept} == {"alpha", "beta", "gamma", "weight", "bias"}  # weight: scales


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("state_space", {"log_fading"}),
        ("paired", {"channel_temperature", "spatial_temperature"}),
        ("window", {"offset_bias"}),
        ("dynamic_conv", {"bias"}),
    ],
)
def test_rates_temperatures_and_biases_of_several_axes_do_not_decay(spec, names):
    net = network(skips=spec)
    _, _, kept = split_parameters(net)
    assert {name.rsplit(".", 1)[1] for name in names_of([p for p in kept if p.dim() > 1], net)} == names


@pytest.mark.parametrize("shape", [(16, 27), (64, 300), (48, 48), (90, 20), (1, 9)])
def test_orthogonal_applies_the_polynomial_to_the_singular_values(shape):
    values = np.random.RandomState(0).normal(size=shape) * np.logspace(0, -3, shape[0])[:, None]
    left, singular, right = np.linalg.svd(values, full_matrices=False)
    singular /= np.linalg.norm(singular)
    for _ in range(5):
        singular = 3.4445 * singular - 4.775 * singular**3 + 2.0315 * singular**5
    found = orthogonal(torch.from_numpy(values).float())
    np.testing.assert_allclose(found.numpy(), (left * singular) @ right, atol=1e-4)


def test_no_gradient_direction_is_made_up():
    assert not orthogonal(torch.zeros(4, 9)).any()


def test_steps_are_those_of_torch_muon():
    config = TrainingConfig(learning_rate=0.01, weight_decay=0.3)
    ours, theirs = nn.Module(), nn.Parameter(torch.randn(8, 20))
    ours.layer = nn.Conv1d(5, 8, 4, bias=False)
    ours.layer.weight.data = theirs.detach().clone().view(8, 5, 4)
    settings = {"momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}
    muon, own = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.3, **settings), MuonAndAdamW(ours, config)
    before = theirs.detach().clone()
    for _ in range(4):
        gradient = torch.randn(8, 20)
        theirs.grad, ours.layer.weight.grad = gradient.clone(), gradient.view(8, 5, 4).clone()
        muon.step()
        own.step()
    moved = theirs.detach() - before
    difference = ours.layer.weight.detach().view(8, 20) - theirs.detach()
    assert difference.norm() < 0.02 * moved.norm()  # torch's is in bfloat16


def test_weights_decay_and_what_is_kept_does_not():
    net = network(skips="gate")
    before = copy.deepcopy(net.state_dict())
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    MuonAndAdamW(net, TrainingConfig(learning_rate=0.01, weight_decay=6.0)).step()
    decays = zip((6.0, 0.3, 0.0), split_parameters(net), strict=True)
    decay_of = {name: decay for decay, parameters in decays for name in names_of(parameters, net)}
    for name, value in net.named_parameters():
        torch.testing.assert_close(value.detach(), before[name] * (1 - 0.01 * decay_of[name]))


def test_a_restored_optimizer_goes_on_with_the_same_numbers():
    def step(net, optimizer, seed):
        torch.manual_seed(seed)
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()

    config = TrainingConfig()
    net = network(skips="gate")
    optimizer = MuonAndAdamW(net, config)
    for seed in range(3):
        step(net, optimizer, seed)
    again = copy.deepcopy(net)
    restored = MuonAndAdamW(again, config)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each in (optimizer, restored):
        for group in each.param_groups:
            group["lr"] = 0.005
    for seed in range(3, 5):
        step(net, optimizer, seed)
        step(again, restored, seed)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_parameters_without_gradient_stay():
    net = network(skips="gate")
    before = copy.deepcopy(net.state_dict())
    MuonAndAdamW(net, TrainingConfig()).step()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
