"""Locator: the part that holds structures is found, and only it is predicted."""

import dataclasses
import logging
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from attention_unet.inference.locator import Locator, coarsen, cut_to_structures, enlarge, is_cut
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model, save_model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.network import AttentionUNet
from attention_unet.preparation.preprocessing import Preprocessing, preprocess
from attention_unet.scans.labels import Labels
from attention_unet.scans.orientation import find_stack
from attention_unet.scans.volumes import read_volume, volume_of_array
from tests.conftest import save_nifti
from tests.inference.build import CPU, Threshold, output, plan_of

FACTORS = (2, 4, 3)
COARSE = Labels({"structures": (1,)}, (1,))
ALL = Settings(torch.float32, probabilities=True, attention=True, drop_small=())


class Bright(nn.Module):
    """Network that finds structures where a coarse voxel is above 0.5."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x, full_output=False):
        return output(full_output, torch.cat([torch.zeros_like(x), 20 * (x - 0.5)], dim=1))


class Strict(Bright):
    """Network that finds structures where a coarse voxel is above 2.5."""

    def forward(self, x, full_output=False):
        return super().forward(x - 2, full_output)


LOCATOR = Locator(Bright(), plan_of(labels=COARSE), FACTORS)
STRICT = Locator(Strict(), plan_of(labels=COARSE), FACTORS)


def scan_of(folder, array):
    return read_volume(save_nifti(folder / "scan.nii.gz", array.astype(np.float32)))


def cube(grid=(40, 36, 30), low=(20, 16, 9), high=(26, 24, 15)):
    array = np.random.RandomState(0).normal(scale=0.01, size=grid)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] += 5
    return array


@pytest.mark.parametrize("grid", [(12, 8, 9), (13, 7, 4), (2, 3, 1)])
def test_coarse_voxels_are_means_of_blocks(grid):
    image = torch.randn(2, *grid)
    blocks = [range(0, n, factor) for n, factor in zip(grid, FACTORS, strict=True)]
    expected = torch.stack(
        [
            torch.stack(
                [
                    torch.stack([image[:, i : i + 2, j : j + 4, k : k + 3].mean(dim=(1, 2, 3)) for k in blocks[2]])
                    for j in blocks[1]
                ]
            )
            for i in blocks[0]
        ]
    ).movedim(-1, 0)
    torch.testing.assert_close(coarsen(image, FACTORS), expected)


@pytest.mark.parametrize("margin", [1, 3])
def test_the_box_holds_what_was_found_with_a_margin(margin):
    locator = dataclasses.replace(LOCATOR, margin=margin)
    box = locator.locate(torch.from_numpy(cube()[None]).float())
    assert box == [
        (20 - 2 * margin, 26 + 2 * margin),
        (16 - 4 * margin, 24 + 4 * margin),
        (9 - 3 * margin, 15 + 3 * margin),
    ]
    assert [(1 + margin) * factor for factor in FACTORS] == list(locator.margin_voxels)
    assert LOCATOR.locate(torch.zeros(1, 40, 36, 30)) is None
    corner = cube(low=(0, 0, 27), high=(3, 3, 30))
    assert LOCATOR.locate(torch.from_numpy(corner[None]).float()) == [(0, 6), (0, 8), (24, 30)]


def test_what_is_hardly_a_structure_counts_only_beside_one():
    faint = 0.46  # a probability of 0.31
    array = cube()
    array[20:26, 24:28, 9:15] = faint
    beside = LOCATOR.locate(torch.from_numpy(array[None]).float())
    assert beside == [(18, 28), (12, 32), (6, 18)]
    array[2:6, 4:8, 24:30] = faint
    assert LOCATOR.locate(torch.from_numpy(array[None]).float()) == beside
    array[2:4, 4:8, 24:27] = 0.54  # a probability of 0.69
    assert LOCATOR.locate(torch.from_numpy(array[None]).float()) == [(0, 28), (0, 32), (6, 30)]
    assert LOCATOR.locate(torch.full((1, 40, 36, 30), faint)) is None


def test_no_thick_slice_is_left_out():
    stack = find_stack([np.diag([1.0, 1.0, 3.0, 1.0])])
    plan = dataclasses.replace(plan_of(labels=COARSE), preprocessing=Preprocessing((1.0, 1.0, 3.0), False, stack))
    locator = Locator(Bright(), plan, FACTORS)
    image = torch.from_numpy(cube()[None]).float()
    assert locator.locate(image) == [*LOCATOR.locate(image)[:2], (0, 30)]
    assert locator.margin_voxels[:2] == LOCATOR.margin_voxels[:2]
    assert locator.margin_voxels[2] > 1000
    assert locator.locate(torch.zeros(1, 40, 36, 30)) is None


def test_few_slices_are_located_among_copies_of_them():
    """The network finds structures by the mean over all slices of a window: zeros around two bright ones hide them."""

    class BrightOnAverage(Bright):
        def forward(self, x, full_output=False):
            return super().forward(x.mean(dim=-1, keepdim=True).expand_as(x), full_output)

    stack = find_stack([np.diag([1.0, 1.0, 3.0, 1.0])])
    plan = dataclasses.replace(plan_of(labels=COARSE), preprocessing=Preprocessing((1.0, 1.0, 3.0), False, stack))
    locator = Locator(BrightOnAverage(), plan, (2, 4, 1))
    image = torch.zeros(1, 40, 36, 2)
    image[:, 20:26, 16:24] = 1
    assert locator.locate(image) == [(18, 28), (12, 28), (0, 2)]


def test_a_box_is_enlarged_to_a_window_at_least():
    random = np.random.RandomState(1)
    for _ in range(500):
        n, edge = random.randint(1, 60), random.randint(1, 40)
        start = random.randint(n)
        stop = random.randint(start + 1, n + 1)
        [(first, last)] = enlarge([(start, stop)], [n], [edge])
        assert 0 <= first <= start < stop <= last <= n
        assert last - first == (stop - start if stop - start >= edge else min(edge, n))
        if first > 0 and last < n:  # about its middle
            assert 0 <= (start - first) - (last - stop) <= 1


def test_the_part_is_a_window_at_least():
    image = preprocess(volume_of_array(cube(), np.eye(4)), plan_of().preprocessing)
    cut = cut_to_structures(Model(Threshold(), plan_of(patch=(24, 8, 8)), CPU, locator=LOCATOR), image)
    np.testing.assert_array_equal(cut.image, image.image[:, 11:35, 12:28, 6:18])
    assert cut.scan_grid == image.scan_grid.cut([(11, 35), (12, 28), (6, 18)])


def test_only_the_found_part_is_predicted(tmp_path):
    array = cube()
    array[2, 3, 4] = 4  # far away: one voxel of a coarse one is not enough for the locator
    volume, plan = scan_of(tmp_path, array), plan_of()
    whole = predict_volume([Model(Threshold(), plan, CPU)], volume, ALL)
    located = Model(Threshold(), plan, CPU, locator=LOCATOR)
    part = predict_volume([located], volume, ALL)
    assert whole.label_map[2, 3, 4] == 3
    expected = whole.label_map.copy()
    expected[2, 3, 4] = 0
    np.testing.assert_array_equal(part.label_map, expected)
    assert part.probabilities[:, 2, 3, 4].tolist() == [1, 0, 0]
    assert part.attention["skip 1"][2, 3, 4] == 0
    asked = predict_volume([located], volume, Settings(torch.float32, whole_scan=True, drop_small=()))
    np.testing.assert_array_equal(asked.label_map, whole.label_map)
    image = preprocess(volume, plan.preprocessing)
    cut = cut_to_structures(located, image)
    assert math.prod(cut.image.shape) < 0.3 * math.prod(image.image.shape)


@pytest.mark.filterwarnings("ignore:.*were located in only")
@pytest.mark.parametrize("side", ["low", "high", "none"])
def test_a_structure_that_the_locator_cut_is_predicted_whole(tmp_path, caplog, side):
    """The box ends within the structure: the mask shows it. At the border of the scan there is nothing more to see."""
    low, high = ((14, 12, 9), (26, 24, 15)) if side != "none" else ((20, 16, 9), (26, 24, 30))
    array = cube(low=low, high=high)
    outside = array.copy()
    if side != "none":
        faint = (slice(3, 14), slice(12, 24)) if side == "low" else (slice(26, 38), slice(12, 24))
        outside[(*faint, slice(9, 15))] += 1.6  # for the network as bright as the rest, for the locator not
    volume = scan_of(tmp_path, outside)
    plan = dataclasses.replace(plan_of(), region_mm=(40.0, 20.0, 15.0))
    whole = predict_volume([Model(Threshold(), plan, CPU)], volume, ALL)
    image = preprocess(volume, plan.preprocessing)
    located = Model(Threshold(), plan, CPU, locator=STRICT)
    cut = cut_to_structures(located, image)
    assert math.prod(cut.image.shape) < 0.7 * math.prod(image.image.shape)
    with caplog.at_level(logging.INFO), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = predict_volume([located], volume, ALL)
    assert ("cuts a structure" in caplog.text) == (side != "none")
    assert any("were located in only" in str(one.message) for one in caught) == (side == "none")
    np.testing.assert_array_equal(found.label_map, whole.label_map)
    if side != "none":
        np.testing.assert_array_equal(found.probabilities, whole.probabilities)
        np.testing.assert_array_equal(found.expected_dice, whole.expected_dice)
    asked = predict_volume([located], volume, dataclasses.replace(ALL, whole_scan=False))
    assert np.array_equal(asked.label_map, whole.label_map) == (side == "none")


def test_a_speck_at_the_border_of_the_part_is_no_cut():
    whole = preprocess(volume_of_array(cube(), np.eye(4)), plan_of().preprocessing).scan_grid
    part = whole.cut([(10, 30), (8, 30), (0, 30)])
    label_map = np.zeros((40, 36, 30), dtype=np.uint8)
    label_map[15:25, 12:22, 5:15] = 3
    assert not is_cut(label_map, part, whole)
    label_map[10, 20, 5:9] = 3  # four of a thousand voxels
    label_map[29, 10:12, 5:7] = 9  # all of a class
    label_map[15:25, 12:22, 0] = 3  # where the scan ends, too
    assert not is_cut(label_map, part, whole)
    label_map[10, 20, 5:12] = 3
    assert is_cut(label_map, part, whole)


@pytest.mark.parametrize("axis", range(3))
def test_a_cut_is_seen_at_each_end_of_the_part_but_not_where_the_scan_ends(axis):
    """The scan has an empty margin of four voxels and half the voxel size of the network."""
    volume = volume_of_array(np.pad(cube(), 4), np.eye(4))
    whole = preprocess(volume, Preprocessing((2.0, 2.0, 2.0), nonzero=False)).scan_grid
    assert whole.start == (2, 2, 2)
    last = whole.grid[axis]
    for low, high in ((5, 10), (0, 10), (5, last - 1), (5, last)):
        part = whole.cut([(low, high) if each == axis else (0, n) for each, n in enumerate(whole.grid)])
        inside = part.covered(axis)
        for edge, ends in ((inside.start, low == 0), (inside.stop - 1, high == last)):
            label_map = np.zeros(volume.grid, dtype=np.uint8)
            body = label_map.swapaxes(0, axis)
            body[inside.start + 2 : inside.stop - 2] = 3
            assert not is_cut(label_map, part, whole)
            body[edge] = 3
            assert is_cut(label_map, part, whole) != ends


def test_a_cut_is_seen_before_small_components_are_dropped(tmp_path):
    """The locator finds one of two equal structures, and the part holds an edge of the other."""
    array = cube(grid=(60, 36, 30), low=(10, 10, 9), high=(22, 22, 21))
    array[23:35, 10:22, 9:21] += 1.6
    volume, located = scan_of(tmp_path, array), Model(Threshold(), plan_of(), CPU, locator=STRICT)
    found = predict_volume([located], volume, Settings(torch.float32, drop_small=("bright",)))
    assert (found.label_map == 3).sum() == 2 * 12**3


def test_each_model_predicts_the_part_that_its_own_locator_finds(tmp_path, caplog):
    array = cube(low=(14, 12, 9), high=(26, 24, 15))
    array[3:14, 12:24, 9:15] += 1.6
    volume, plan = scan_of(tmp_path, array), plan_of()
    strict, other, whole = (Model(Threshold(), plan, CPU, locator=each) for each in (STRICT, LOCATOR, None))
    as_located = dataclasses.replace(ALL, whole_scan=False)
    alone = [predict_volume([model], volume, as_located).probabilities for model in (strict, other)]
    assert (alone[0] != alone[1]).any()
    together = predict_volume([strict, other], volume, as_located)
    np.testing.assert_allclose(together.probabilities, np.mean(alone, axis=0), atol=1e-6)
    for models in ([whole, strict], [strict, whole]):
        with caplog.at_level(logging.INFO):
            found = predict_volume(models, volume, ALL)
        assert "cuts a structure" in caplog.text
        caplog.clear()
        np.testing.assert_array_equal(found.probabilities, predict_volume([whole], volume, ALL).probabilities)


def test_much_less_than_usual_is_found(tmp_path):
    """One of two kidneys, for example: the mask has no sign of what was not looked at."""
    volume = scan_of(tmp_path, cube())
    for region_mm, warns in (((10.0, 16.0, 12.0), False), ((40.0, 16.0, 12.0), True), (None, False)):
        plan = dataclasses.replace(plan_of(), region_mm=region_mm)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            predict_volume([Model(Threshold(), plan, CPU, locator=LOCATOR)], volume, ALL)
        assert any("were located in only" in str(one.message) for one in caught) == warns


def test_a_scan_in_which_nothing_is_found_is_predicted_whole(tmp_path):
    volume, plan = scan_of(tmp_path, -cube()), plan_of()
    found = predict_volume([Model(Threshold(), plan, CPU, locator=LOCATOR)], volume, ALL)
    assert (found.label_map == 9).sum() == 6 * 8 * 6


def test_a_model_file_holds_its_locator(tmp_path):
    torch.manual_seed(0)
    plan, coarse = plan_of(), plan_of(labels=COARSE, spacing=(2.0, 4.0, 3.0))
    network, small = (AttentionUNet(each.architecture).eval() for each in (plan, coarse))
    save_model(tmp_path, network.state_dict(), plan, {}, Locator(small, coarse, FACTORS, margin=2))
    model = load_model(tmp_path)
    assert (model.locator.factors, model.locator.margin) == (FACTORS, 2)
    assert model.locator.plan.preprocessing == Preprocessing((2.0, 4.0, 3.0), nonzero=False)
    x = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(model.network(x), network(x))
    assert torch.equal(model.locator.network(x), small(x))
    assert model.on(CPU).locator.network is not model.locator.network
