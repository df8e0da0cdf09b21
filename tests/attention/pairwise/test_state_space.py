import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.pairwise.state_space import StateSpace
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve, sigmoid


def recur(values, log_fading, output):
    """Run the recurrence of the states along the last axis, in both directions. values: (C, ..., n)."""
    result = np.zeros_like(values)
    n = values.shape[-1]
    for c, i in np.ndindex(*output.shape[1:]):
        for direction, order in enumerate((range(n), range(n - 1, -1, -1))):
            state = np.zeros(values.shape[1:-1])
            for t in order:
                entering = values[c, ..., t]
                state = np.exp(-np.exp(log_fading[direction, c, i])) * state + entering
                # The voxel itself is counted once, in the forward direction.
                result[c, ..., t] += output[direction, c, i] * (state if direction == 0 else state - entering)
    return result


@pytest.mark.parametrize("states", [1, 4])
@pytest.mark.parametrize("grid", [(5, 3), (4, 2, 3)])
def test_equals_the_recurrence(grid, states):
    attention, x = trained(StateSpace(Place(len(grid), 4, 4), states=states)), image(2, 4, *grid)
    p = arrays(attention)
    result = attention(x, with_map=True)
    for case, features, weights in zip(x.numpy(), result.features, result.weights, strict=True):
        gathered = convolve(case, p["value.weight"], p["value.bias"])
        for axis in range(len(grid)):
            along = np.moveaxis(gathered, axis + 1, -1)
            gathered = np.moveaxis(recur(along, p["log_fading"][axis], p["output"][axis]), -1, axis + 1)
        gate = sigmoid(convolve(case, p["gate.weight"], p["gate.bias"]))
        expected = case + convolve(gate * gathered, p["project.weight"], p["project.bias"])
        torch.testing.assert_close(weights[0], torch.from_numpy(gate.mean(axis=0)))
        torch.testing.assert_close(features, torch.from_numpy(expected))


def test_states_fade_over_one_to_eight_voxels_at_the_start():
    attention = StateSpace(Place(3, 2, 2))
    torch.testing.assert_close(1 / torch.exp(attention.log_fading)[0, 0, 0], torch.tensor([1.0, 2.0, 4.0, 8.0]))
    assert attention.output.std().item() == pytest.approx(8**-0.5, rel=0.4)


def test_a_voxel_reaches_the_far_corner():
    attention = trained(StateSpace(Place(2, 1, 1)))
    x = torch.zeros(1, 1, 9, 7, dtype=torch.float64)
    other = x.clone()
    other[..., 0, 0] = 1
    assert (attention(other).features - attention(x).features)[0, 0, -1, -1].abs() > 0
