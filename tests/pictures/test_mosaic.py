import dataclasses

import numpy as np
import pytest

from attention_unet.pictures.figures import save_figure
from attention_unet.pictures.mosaic import Scene, cut_to_shown_plane, draw_mosaic, most_informative_plane
from tests.conftest import oblique_affine


def test_left_of_the_patient_is_on_the_right_in_any_storage_order():
    """A bright voxel at the patient's left, front and top must be drawn right and, in an axial slice, front up."""
    for axes, signs in [((0, 1, 2), (1, 1, 1)), ((2, 1, 0), (-1, 1, -1)), ((1, 2, 0), (-1, -1, 1))]:
        affine = oblique_affine(spacing=(1, 1, 3), degrees=4, axes=axes, signs=signs, shift=(0, 0, 0))
        grid = [(20, 30, 8)[a] for a in axes]
        voxels = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), axis=-1)
        mm = voxels @ affine[:3, :3].T
        middle = mm.reshape(-1, 3).mean(axis=0)
        corner = ((mm - middle) * (-1, 1, 1) > (5, 8, -2)).all(axis=-1)  # left is negative x in RAS+
        scene = Scene("case", affine, corner * 100.0, corner.astype(int), corner.astype(int))
        drawn = draw_mosaic([scene], ["spot"]).axes[0]
        assert [text.get_text() for text in drawn.texts] == ["R", "L"]
        image = drawn.images[0].get_array()
        rows, columns = np.nonzero(np.asarray(image) > 50)
        assert columns.mean() > 0.6 * image.shape[1]
        assert rows.mean() > 0.6 * image.shape[0]


def test_slices_from_the_side_have_the_front_on_the_left():
    front = np.zeros((4, 20, 20), dtype=int)
    front[:, 15:, 8:12] = 1
    scene = Scene("case", np.diag([5.0, 1, 1, 1]), front * 100.0, front, front)
    drawn = draw_mosaic([scene], ["spot"]).axes[0]
    assert [text.get_text() for text in drawn.texts] == ["A", "P"]
    assert np.nonzero(np.asarray(drawn.images[0].get_array()) > 50)[1].max() < 10


@pytest.mark.parametrize(("high", "bound"), [(0.51, 1), (1.0001, 1), (1.9, 2), (3.1, 4), (np.inf, 2**16)])
def test_attention_is_drawn_in_a_fixed_range(high, bound):
    weights = np.full((6, 6, 6), 0.49, dtype=np.float32)
    weights[0] = high
    reference = np.zeros((6, 6, 6), dtype=int)
    reference[2:4, 2:4, 2:4] = 1
    scene = Scene("case", np.eye(4), np.random.rand(6, 6, 6), reference, reference, {"level 2": weights})
    axes = draw_mosaic([scene], ["spot"]).axes[3]
    assert axes.images[1].get_clim() == (0, bound)
    assert f"level 2 (0 to {bound})" in axes.get_title()


def test_names_are_no_formulas(tmp_path):
    mask = np.eye(6, dtype=int)[None].repeat(6, axis=0)
    save_figure(draw_mosaic([Scene("$\\nothing$", np.eye(4), mask, mask, mask)], ["$\\none$"]), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_attention_has_a_column_only_if_there_is_some():
    mask = np.zeros((6, 6, 6), dtype=int)
    mask[2:4, 2:4, 2:4] = 1
    without = Scene("case", np.eye(4), np.random.rand(6, 6, 6), mask, mask)
    attended = dataclasses.replace(without, attention={"level 1": np.full((6, 6, 6), 0.5, dtype=np.float32)})
    assert [a.get_title() for a in draw_mosaic([without], ["spot"]).axes] == ["image", "reference", "prediction"]
    titles = [a.get_title() for a in draw_mosaic([attended, without], ["spot"]).axes]
    assert titles == ["image", "reference", "prediction", "attention, level 1 (0 to 1)", *titles[:3], ""]


def test_the_plane_shows_small_classes_too():
    reference = np.zeros((10, 10, 12), dtype=int)
    reference[:, :, 2:6] = 1
    reference[:2, :2, 5:7] = 2
    assert most_informative_plane(reference, 2) == 5
    assert most_informative_plane(np.zeros((4, 4, 9), dtype=int), 2) == 4


@pytest.mark.parametrize("grid", [(1, 12, 12), (12, 1, 12), (12, 12, 1), (1, 1, 12), (1, 1, 1)])
def test_single_slices_in_any_direction_are_drawn(tmp_path, grid):
    mask = np.ones(grid, dtype=int)
    scene = Scene("case", np.eye(4), mask * 100.0, mask, mask, attention={"level 1": mask * np.float32(0.5)})
    save_figure(draw_mosaic([scene], ["spot"]), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_a_scene_keeps_only_the_plane_that_is_drawn():
    affine = np.array([[0, 0, 2.0, 0], [3.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    random = np.random.RandomState(0)
    image, mask = random.rand(6, 7, 8), np.zeros((6, 7, 8), dtype=int)
    mask[2:4, 2:5, 3:6] = 1
    scene = Scene("case", affine, image, mask, mask, {"level 1": image.astype(np.float32)})
    cut = cut_to_shown_plane(scene)
    assert cut.image.size * 6 == image.size  # slices of 3 mm follow each other along the first axis
    drawn, small = (
        [image.get_array() for axes in draw_mosaic([each], ["spot"]).axes for image in axes.images]
        for each in (scene, cut)
    )
    assert len(drawn) == len(small) == 7  # the scan four times, two masks, one map
    assert all(np.ma.allequal(one, other) for one, other in zip(drawn, small, strict=True))


@pytest.mark.parametrize("degrees", range(1, 30, 4))
def test_tilted_scans_of_equal_voxels_are_drawn_in_axial_planes(degrees):
    """Rounding makes their sizes differ by less than a billionth."""
    angle, mask = np.radians(degrees), np.zeros((6, 6, 6), dtype=int)
    mask[2:4, 2:4, 2:4] = 1
    tilted = np.eye(4)
    tilted[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    shown = cut_to_shown_plane(Scene("case", tilted.astype(np.float32), mask * 1.0, mask, mask))
    assert shown.image.shape == (6, 6, 1)
