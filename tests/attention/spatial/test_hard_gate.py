import pytest
import torch

from attention_unet.attention import options_of
from attention_unet.attention.base import Place
from attention_unet.attention.spatial.additive_gate import AdditiveGate
from attention_unet.attention.spatial.hard_gate import HardGate
from tests.attention.build import image, trained


def draws(gate, count, grid=(4, 6)):
    """Masks (count, 1, *grid) of one skip, each a sample of its own."""
    torch.manual_seed(5)
    x, signal = image(1, 4, *grid), image(1, 5, *(n // 2 for n in grid))
    many = gate.train()(x.expand(count, *x.shape[1:]), signal.expand(count, *signal.shape[1:])).weights
    return many.detach(), gate.logits(x, signal).detach()


def test_a_draw_is_nothing_or_all():
    masks, _ = draws(trained(HardGate(Place(2, 4, 5))), 50)
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_the_mean_of_many_draws_is_the_soft_gate():
    masks, logits = draws(trained(HardGate(Place(2, 4, 5)), std=0.4), 20_000)
    expected = torch.nn.functional.interpolate(torch.sigmoid(logits), (4, 6), mode="nearest-exact")[0]
    assert 0.1 < float(expected.mean()) < 0.9
    torch.testing.assert_close(masks.mean(dim=0), expected, atol=0.02, rtol=0)


def test_cells_of_the_gates_grid_pass_as_one():
    masks, _ = draws(trained(HardGate(Place(2, 4, 5))), 8)
    blocks = masks.reshape(8, 2, 2, 3, 2)
    assert torch.equal(blocks, blocks[:, :, :1, :, :1].expand_as(blocks))


def test_eval_is_the_threshold_of_the_soft_gate():
    hard, soft = trained(HardGate(Place(2, 4, 5))), trained(AdditiveGate(Place(2, 4, 5)))
    x, signal = image(1, 4, 4, 6), image(1, 5, 2, 3)
    passes = torch.sigmoid(soft.logits(x, signal)) > 0.5
    assert passes.any()
    assert not passes.all()
    expected = torch.nn.functional.interpolate(passes.double(), (4, 6), mode="nearest-exact")
    torch.testing.assert_close(hard(x, signal).weights, expected)
    assert torch.equal(hard(x, signal).weights, hard(x, signal).weights)


def test_gradient_is_that_of_the_relaxed_draw():
    gate = trained(HardGate(Place(2, 4, 5))).train()
    x, signal = image(1, 4, 4, 6), image(1, 5, 2, 3)
    torch.manual_seed(6)
    gate(x, signal).features.sum().backward()
    straight_through = gate.psi.bias.grad.clone()
    gate.zero_grad()
    torch.manual_seed(6)
    uniform = torch.rand(1, 1, 2, 3).double()
    relaxed = torch.sigmoid((gate.logits(x, signal) + uniform.log() - (1 - uniform).log()) / gate.temperature)
    (x * torch.nn.functional.interpolate(relaxed, (4, 6), mode="nearest-exact")).sum().backward()
    torch.testing.assert_close(straight_through, gate.psi.bias.grad, atol=1e-5, rtol=1e-5)
    assert straight_through.abs() > 0


def test_cells_of_an_odd_grid_stay_where_they_came_from():
    gate = trained(HardGate(Place(2, 4, 5)))
    gate.logits = lambda x, signal: torch.tensor([[[[-1.0], [1.0], [-1.0]]]], dtype=torch.float64)
    mask = gate(image(1, 4, 5, 2), image(1, 5, 3, 1)).weights
    assert mask[0, 0, :, 0].tolist() == [0, 0, 1, 1, 0]


def test_a_low_temperature_leaves_a_gradient_only_near_the_threshold():
    gate, x, signal = trained(HardGate(Place(2, 4, 5))), image(1, 4, 4, 6), image(1, 5, 2, 3)
    gradients = {}
    for temperature in (1.0, 1e-3):
        gate.temperature = temperature
        gate.zero_grad()
        gate(x, signal).features.sum().backward()
        gradients[temperature] = gate.psi.bias.grad.abs().item()
    assert gradients[1.0] > 1e-3
    assert gradients[1e-3] < 1e-9


def test_the_temperature_is_that_of_the_paper_of_its_noise():
    assert options_of(HardGate)["temperature"].default == pytest.approx(2 / 3)
