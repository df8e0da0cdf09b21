import itertools

import pytest
import torch

from attention_unet.inference.sliding_window import gaussian, slide, window_starts


def linear(windows):
    """A predictor that sees each voxel alone: twice the value, and its negative; a map of the value itself."""
    return torch.cat([2 * windows, -windows], dim=1), {"map": windows[:, :1]}


@pytest.mark.parametrize("grid", [(9, 14, 11), (4, 20, 8), (3, 3, 3)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_a_voxelwise_predictor_is_reproduced_everywhere(grid, overlap):
    image = torch.randn(1, *grid)
    probabilities, maps = slide(image, (8, 6, 8), linear, overlap)
    torch.testing.assert_close(probabilities, torch.cat([2 * image, -image]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(maps["map"], image, atol=1e-5, rtol=1e-5)


def test_windows_are_weighted_by_the_gaussian():
    """A predictor that answers with the number of the window: the slow, obvious average is the judge."""
    image = torch.zeros(1, 10, 7, 9)
    window, overlap, calls = (6, 5, 4), 0.5, itertools.count()

    def numbered(windows):
        numbers = torch.tensor([float(next(calls)) for _ in windows])
        return numbers.view(-1, 1, 1, 1, 1).expand(-1, 1, *window), {}

    found, _ = slide(image, window, numbered, overlap, batch=3)
    total, weights, weight = torch.zeros(10, 7, 9), torch.zeros(10, 7, 9), gaussian(window)
    starts = [window_starts(n, e, overlap) for n, e in zip((10, 7, 9), window, strict=True)]
    for number, (i, j, k) in enumerate(itertools.product(*starts)):
        for a, b, c in itertools.product(*(range(e) for e in window)):
            total[i + a, j + b, k + c] += number * weight[a, b, c]
            weights[i + a, j + b, k + c] += weight[a, b, c]
    torch.testing.assert_close(found[0], total / weights)


@pytest.mark.parametrize(
    ("n", "edge", "overlap"), [(40, 16, 0.5), (41, 16, 0.25), (16, 16, 0.5), (7, 16, 0.5), (33, 16, 0)]
)
def test_windows_cover_the_axis_evenly(n, edge, overlap):
    starts = window_starts(n, edge, overlap)
    assert starts[0] == 0
    assert n <= edge or starts[-1] + edge == n
    steps = [b - a for a, b in itertools.pairwise(starts)]
    assert all(0 < step <= edge * (1 - overlap) + 0.5 for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


def test_small_volumes_are_padded_evenly_with_zero():
    seen = []

    def spy(windows):
        seen.append(windows)
        return windows, {}

    slide(torch.ones(1, 3, 8, 8), (6, 8, 8), spy)
    assert seen[0][0, 0, :, 0, 0].tolist() == [0, 1, 1, 1, 0, 0]


def test_batches_change_nothing():
    image = torch.randn(2, 12, 12, 12)
    alone, _ = slide(image, (8, 8, 8), linear, batch=1)
    together, _ = slide(image, (8, 8, 8), linear, batch=5)
    assert torch.equal(alone, together)


def test_gaussian_peaks_in_the_middle():
    weight = gaussian((9, 5))
    assert float(weight.max()) == float(weight[4, 2]) == 1.0
    assert float(weight.min()) >= 1e-3
    torch.testing.assert_close(weight, weight.flip(0, 1))
