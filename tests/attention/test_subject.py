"""Every mechanism answers to what it is about: channel means, places, pairs of voxels, scale. In double precision."""

import pytest
import torch

from attention_unet.attention import MECHANISMS, NAMES, build, find_mechanism
from tests.attention.build import trained

CHANNELS = 32
BOTH = ("open", "paper")


def at_start(name, init, dims=2):
    torch.manual_seed(0)
    return build(name, dims=dims, channels=CHANNELS, gate_channels=CHANNELS, init=init).double().eval()


def stepped(name, init, dims=2, training=False):
    """A few steps from its start."""
    attention = at_start(name, init, dims).train(training)
    optimizer = torch.optim.SGD(attention.parameters(), lr=1.0) if [*attention.parameters()] else None
    torch.manual_seed(6)
    for _ in range(3 if optimizer else 0):
        grids = ((6, 5, 4), (3, 3, 2)) if dims == 3 else ((8, 8), (4, 4))
        x, gate = (torch.randn(2, CHANNELS, *grid, dtype=torch.float64) for grid in grids)
        optimizer.zero_grad()
        (attention(x, gate).features - x.flip(2)).square().mean().backward()
        optimizer.step()
    return attention


def drawn(name, init, dims=2):
    """Parameters drawn at random, as after a training."""
    return trained(at_start(name, init, dims), std=0.3)


def features(grid=(16, 16), seed=2):
    torch.manual_seed(seed)
    return torch.randn(1, CHANNELS, *grid, dtype=torch.float64)


def weights_of(attention, x, gate):
    with torch.no_grad():
        return attention(x, gate, True).weights


def change(attention, x, other):
    gate = features((8, 8), seed=3)
    return float((weights_of(attention, x, gate) - weights_of(attention, other, gate)).abs().max())


def names_of(*kinds):
    return [name for name in MECHANISMS if find_mechanism(name).kind in kinds]


def of_several_channels(x):
    """Shift some channels and double others: means, norms and deviations change, places do not."""
    gains, shifts = torch.ones(CHANNELS, dtype=x.dtype), torch.zeros(CHANNELS, dtype=x.dtype)
    gains[::4], shifts[1::4] = 2, 2
    return x * gains[:, None, None] + shifts[:, None, None]


# SimAM measures each voxel against its own channel, and is meant to ignore gain and shift.
SEES_CHANNELS = sorted({*names_of("channel", "kernel", "spatial", "mixed"), "sequential", "parallel"} - {"simam"})


@pytest.mark.parametrize("init", BOTH)
@pytest.mark.parametrize("name", SEES_CHANNELS)
def test_weights_answer_to_the_channels(name, init):
    x = features() * 0.1
    assert change(drawn(name, init), x, of_several_channels(x)) > 1e-3
    if name != "hard":  # all cells are open still
        assert change(stepped(name, init), x, of_several_channels(x)) > 1e-6


SEES_PLACES = [*names_of("spatial", "mixed", "geometric"), "sequential", "residual", "recursive", "multiscale"]


@pytest.mark.parametrize("init", BOTH)
@pytest.mark.parametrize("name", SEES_PLACES)
def test_weights_answer_to_the_place(name, init):
    """A bright spot elsewhere, and other weights there."""
    one, other = features() * 0.1, features() * 0.1
    one[..., 2:6, 3:7] += 2
    other[..., 9:13, 8:12] += 2
    assert change(drawn(name, init), one, other) > 1e-4
    if name != "hard":
        assert change(stepped(name, init), one, other) > 1e-6


@pytest.mark.parametrize("init", BOTH)
@pytest.mark.parametrize("name", names_of("pairwise"))
def test_a_voxel_answers_to_another_and_each_in_its_own_way(name, init):
    attention, x, gate = drawn(name, init), features((8, 8)), features((4, 4), seed=3)
    changed_x, changed_gate = x.clone(), gate.clone()
    if find_mechanism(name).needs_gate:
        changed_gate[..., 1, 1] += features((1, 1), seed=5)[..., 0, 0]
    else:
        changed_x[..., 1, 1] += features((1, 1), seed=5)[..., 0, 0]
    with torch.no_grad():
        effect = (attention(changed_x, changed_gate).features - attention(x, gate).features)[0]
    effect[:, 1, 1] = 0
    reached = effect.abs().amax(dim=0) > 1e-4
    assert reached.sum() > 4
    ways = effect[:, reached]
    assert float((ways - ways.mean(dim=1, keepdim=True)).abs().max()) > 1e-4


def test_multiscale_sees_further_than_its_content():
    x = features((32, 32))
    far = x.clone()
    far[..., 20, 16] += 5
    for name, reached in (("spatial", False), ("multiscale", True)):
        attention, gate = drawn(name, "open"), None
        effect = (weights_of(attention, far, gate) - weights_of(attention, x, gate)).abs()
        assert (float(effect[..., 12, 16]) > 1e-6) == reached


@pytest.mark.parametrize("name", [name for name in NAMES if find_mechanism(name).needs_gate])
def test_the_decoder_decides_as_well(name):
    attention, x = drawn(name, "open"), features()
    one, other = features((8, 8), seed=3), features((8, 8), seed=4)
    with torch.no_grad():
        assert float((attention(x, one).features - attention(x, other).features).abs().max()) > 1e-3


@pytest.mark.parametrize("init", BOTH)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_dead_at_the_start(name, init):
    """After a few steps from its start every parameter has learned."""
    before = dict(at_start(name, init, 3).named_parameters())
    learned = stepped(name, init, 3, training=True)
    still = {key for key, value in learned.named_parameters() if torch.allclose(value, before[key], rtol=0, atol=1e-14)}
    # A bias before a normalisation does nothing, nor does one bias of all keys before a softmax.
    allowed = {"project_x.0.bias", "project_gate.0.bias", "psi.0.bias"} if name == "lee_gate" else set()
    if learned.kind == "pairwise":
        allowed = {key for key in before if key.startswith("key.") and key.endswith("bias")}
    assert still <= allowed
