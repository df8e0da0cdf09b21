import itertools

import numpy as np
import pytest
import torch

from attention_unet.inference.sliding_window import slide, window_starts


def linear(windows):
    """A predictor that sees each voxel alone: twice the value, and its negative."""
    return torch.cat([2 * windows, -windows], dim=1)


def whole(image, window, predict, channels=2, **options):
    """All planes of the result."""
    return torch.cat(list(slide(image, window, predict, unseen=torch.zeros(channels), **options)), dim=1)


@pytest.mark.parametrize("grid", [(9, 14, 11), (4, 20, 8), (3, 3, 3), (30, 6, 8)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_a_voxelwise_predictor_is_reproduced_everywhere(grid, overlap):
    image = torch.randn(1, *grid)
    expected = torch.cat([2 * image, -image])
    torch.testing.assert_close(whole(image, (8, 6, 8), linear, overlap=overlap), expected, atol=1e-5, rtol=1e-5)


def test_windows_are_weighted_by_the_gaussian():
    """A predictor that answers with the number of the window: the slow, obvious average is the judge."""
    image = torch.zeros(1, 10, 7, 9)
    window, overlap, calls = (6, 5, 4), 0.5, itertools.count()

    def numbered(windows):
        numbers = torch.tensor([float(next(calls)) for _ in windows])
        return numbers.view(-1, 1, 1, 1, 1).expand(-1, 1, *window)

    found = whole(image, window, numbered, channels=1, overlap=overlap, batch=3)
    total, weights = torch.zeros(10, 7, 9), torch.zeros(10, 7, 9)
    distances = [(torch.arange(e) - (e - 1) / 2) / (e / 8) for e in window]
    squares = sum(d.view(*(-1 if a == b else 1 for b in range(3))) ** 2 for a, d in enumerate(distances))
    weight = torch.exp(-squares / 2)
    weight = (weight / weight.max()).clamp(min=1e-3)
    starts = [window_starts(n, e, overlap) for n, e in zip((10, 7, 9), window, strict=True)]
    for number, (i, j, k) in enumerate(itertools.product(*starts)):
        for a, b, c in itertools.product(*(range(e) for e in window)):
            total[i + a, j + b, k + c] += number * weight[a, b, c]
            weights[i + a, j + b, k + c] += weight[a, b, c]
    torch.testing.assert_close(found[0], total / weights)


@pytest.mark.parametrize("rows", [(0, 1), (13, 14), (3, 9), (0, 14)])
@pytest.mark.parametrize("window", [(8, 6, 8), (16, 20, 16)])
def test_rows_alone_are_those_of_the_whole(window, rows):
    image, seen = torch.randn(1, 9, 14, 11), []

    def leaning(windows):
        seen.append(windows.shape[2:])
        return windows.cumsum(dim=2) + windows.cumsum(dim=3)

    expected = whole(image, window, leaning, channels=1)
    of_all = len(seen)
    found = whole(image, window, leaning, channels=1, rows=rows)
    assert torch.equal(found, expected[:, :, slice(*rows)])
    if window[1] < 14:  # else there is but one
        starts = window_starts(14, window[1], 0.5)
        touching = [start for start in starts if set(range(start, start + window[1])) & set(range(*rows))]
        assert (len(seen) - of_all) * len(starts) == of_all * len(touching)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slices", [1, 2, 3, 9])
def test_the_outermost_slices_of_a_stack_are_repeated(axis, slices):
    grid, window, seen = [5, 5, 5], (8, 6, 7), []
    grid[axis] = slices
    image = torch.randn(2, *grid)

    def spy(windows):
        seen.extend(windows)
        return windows

    found = whole(image, window, spy, overlap=0, stack_axis=axis)
    torch.testing.assert_close(found, image)
    missing = [(max(n, edge) - n, axis == across) for across, (n, edge) in enumerate(zip(grid, window, strict=True))]
    sides = [(lack // 2, lack - lack // 2) for lack, _ in missing]
    padded = image.numpy()
    for across, (side, (_, repeated)) in enumerate(zip(sides, missing, strict=True)):
        others = [(0, 0)] * 4
        others[1 + across] = side
        padded = np.pad(padded, others, mode="edge" if repeated else "constant")
    i, j, k = window
    np.testing.assert_array_equal(seen[0], padded[:, :i, :j, :k])


def test_planes_are_given_away_as_soon_as_no_window_will_reach_them():
    seen = []

    def spy(windows):
        seen.append(windows)
        return windows

    parts = slide(torch.zeros(1, 20, 4, 4), (8, 4, 4), spy, unseen=torch.zeros(1))
    depths = [(part.shape[1], len(seen)) for part in parts]
    assert depths == [(4, 1), (4, 2), (4, 3), (8, 4)]


def test_nothing_but_air_is_skipped():
    """A voxel that differs from the background in one channel, however little, has its windows predicted."""
    grid, window, background = (12, 10, 14), (6, 5, 7), torch.tensor([-0.25, 3.0])
    empty = background.view(-1, 1, 1, 1).expand(-1, *grid)
    unseen = torch.tensor([1.0, 0.0])

    def certain(windows):
        seen.append(len(windows))
        return torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1).expand(len(windows), 2, *window)

    for place in itertools.product((0, 5, 11), (0, 4, 9), (0, 6, 13)):
        for channel in range(2):
            image, seen = empty.clone(), []
            image[(channel, *place)] += 1e-6
            found = torch.cat(list(slide(image, window, certain, unseen=unseen, background=background)), dim=1)
            assert found[(slice(None), *place)].tolist() == [0, 1]
            covering = [
                sum(start <= p < start + edge for start in window_starts(n, edge, 0.5))
                for p, n, edge in zip(place, grid, window, strict=True)
            ]
            assert sum(seen) == torch.tensor(covering).prod()
            assert (found[0] == 1).sum() == (found[1] == 0).sum() > 0
    seen = []
    assert (torch.cat(list(slide(empty, window, certain, unseen=unseen, background=background)), dim=1)[0] == 1).all()
    assert not seen


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
        return windows

    whole(torch.ones(1, 3, 8, 8), (6, 8, 8), spy, channels=1)
    assert seen[0][0, 0, :, 0, 0].tolist() == [0, 1, 1, 1, 0, 0]
