import dataclasses
import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForeground, NormalizeIntensity, Orientation, Spacing

from attention_unet.dataset.case_facts import measure_extent
from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_case_label, read_channels
from attention_unet.errors import DataError
from attention_unet.preparation.preprocessing import Preprocessing, preprocess, preprocess_target
from attention_unet.scans.foreground import find_background
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import read_labels, read_volume
from tests.conftest import affine_of, oblique_affine, positions_mm, save_nifti

LABELS = Labels({"a": (1,), "b": (2,), "c": (3,)}, (1, 2, 3))
AXES = list(itertools.permutations(range(3)))


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)], ids=str)
def test_every_value_stays_at_its_place_in_the_patient(tmp_path, axes, signs):
    """A ramp along a direction of the patient: its values show positions in any storage order and voxel size."""
    affine = oblique_affine(axes=axes, signs=signs)
    direction = np.array([0.3, -0.5, 0.8])
    ramp = (positions_mm((11, 12, 13), affine) @ direction).astype(np.float32)
    volume = read_volume(save_nifti(tmp_path / "ramp.nii.gz", ramp, affine))
    for spacing in ((0.9, 1.3, 2.5), (1.1, 1.1, 1.7)):
        preprocessed = preprocess(volume, Preprocessing(spacing, nonzero=False))
        affine_ras = affine_of(preprocessed.scan_grid, volume.affine)
        assert np.allclose(np.linalg.norm(affine_ras[:3, :3], axis=0), spacing, atol=1e-5)
        assert (np.diag(affine_ras[:3, :3]) > 0).all()
        expected = positions_mm(preprocessed.image.shape[1:], affine_ras) @ direction
        found = preprocessed.image[0].numpy() * ramp.std() + ramp.mean()  # undo the z-score, roughly
        slope, offset = np.polyfit(expected[1:-1, 1:-1, 1:-1].ravel(), found[1:-1, 1:-1, 1:-1].ravel(), 1)
        residual = found - (slope * expected + offset)
        assert np.abs(residual[1:-1, 1:-1, 1:-1]).max() < 0.02


@pytest.mark.parametrize("nonzero", [False, True])
@pytest.mark.parametrize("spacing", [(0.9, 1.3, 2.5), (0.8, 0.8, 0.8), (0.5, 0.9, 1.0)], ids=str)
@pytest.mark.parametrize("axes", AXES[::2], ids=str)
def test_prepared_as_by_monai(tmp_path, axes, spacing, nonzero):
    affine = oblique_affine(axes=axes, signs=(1, -1, 1))
    array = np.random.RandomState(0).uniform(50, 400, size=(12, 13, 14, 2)).astype(np.float32)
    array[:3], array[:, 10:], array[..., -2:, :] = 0, 0, 0
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", array, affine))
    preprocessed = preprocess(volume, Preprocessing(spacing, nonzero=nonzero))
    resample = Compose(
        [
            Orientation(axcodes="RAS", labels=None),
            Spacing(spacing, mode="bilinear", padding_mode="border", align_corners=True),
        ]
    )
    values, share = (
        resample(MetaTensor(torch.from_numpy(v.copy()), affine=torch.from_numpy(affine)))
        for v in (volume.array, (volume.array != 0).astype(np.float32))
    )
    if nonzero:  # zeros are not mixed with other values
        values = torch.where(share >= 0.5, values / share, 0 * values)
    steps = Compose(
        [
            CropForeground(select_fn=lambda image: image > image.amin(dim=(1, 2, 3), keepdim=True), allow_smaller=True),
            NormalizeIntensity(nonzero=nonzero, channel_wise=True),
        ]
    )
    expected = steps(values)
    torch.testing.assert_close(preprocessed.image, expected.as_tensor(), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(affine_of(preprocessed.scan_grid, volume.affine), expected.affine, atol=1e-4)


def test_target_moves_with_its_image(tmp_path):
    affine = oblique_affine(axes=(2, 0, 1), signs=(1, -1, 1))
    label = np.random.RandomState(0).randint(0, 3, size=(10, 11, 12)).astype(np.uint8)
    image = label.astype(np.float32) * 10 + 1
    volume = read_volume(save_nifti(tmp_path / "i.nii.gz", image, affine))
    labels = read_labels(save_nifti(tmp_path / "l.nii.gz", label, affine))
    preprocessed = preprocess(volume, Preprocessing((0.9, 1.3, 2.5), nonzero=False))
    target = preprocess_target(labels, LABELS, preprocessed)
    values = [preprocessed.image[0][target[0] == v] for v in range(3)]
    assert all(float(v.std()) < 1e-5 for v in values)
    assert values[0].mean() < values[1].mean() < values[2].mean()


def test_annotated_slices_do_not_vanish_among_ignored_ones(tmp_path):
    """Single slices of 1 mm, on a grid of 1.6 mm: no voxel lies in such a slice for the most part."""
    label = np.full((40, 40, 40), 9, dtype=np.uint8)
    for plane in range(3, 40, 7):
        label[:, :, plane] = 0
        label[10:30, 12:28, plane] = 2
    volume = read_labels(save_nifti(tmp_path / "l.nii.gz", label))
    labels = dataclasses.replace(LABELS, ignore=9)
    same = preprocess_target(volume, labels, preprocess(volume, Preprocessing((1.0, 1.0, 1.0), nonzero=False)))
    np.testing.assert_array_equal(same[0], np.where(label == 9, 255, label))
    target = preprocess_target(volume, labels, preprocess(volume, Preprocessing((1.6, 1.6, 1.6), nonzero=False)))[0]
    annotated = target != 255
    assert set(np.unique(target)) == {0, 2, 255}
    assert annotated.any(axis=(0, 1)).sum() >= 6
    share = (target[annotated] == 2).mean()
    assert share == pytest.approx(20 * 16 / 1600, rel=0.1)


@pytest.mark.parametrize("spacing", [(0.73, 1.0, 0.41), (1.61, 2.33, 0.93)], ids=str)
def test_a_voxel_is_known_by_annotated_voxels_in_it_or_by_the_nearest_if_it_is_smaller(tmp_path, spacing):
    label = np.where(np.random.RandomState(0).uniform(size=(9, 10, 11)) < 0.3, 0, 9).astype(np.uint8)
    volume = read_labels(save_nifti(tmp_path / "l.nii.gz", label, oblique_affine((1, 1, 1), axes=(2, 0, 1))))
    image = preprocess(volume, Preprocessing(spacing, nonzero=False))
    target = preprocess_target(volume, dataclasses.replace(LABELS, ignore=9), image)[0]
    where, known = image.scan_grid, image.scan_grid.orient(label != 9)
    for index in np.ndindex(*where.grid):
        near = []
        for axis, n in enumerate(index):
            position, half = (where.start[axis] + n) * where.step[axis], max(where.step[axis], 1) / 2
            voxels = range(known.shape[axis])
            near.append([v for v in voxels if abs(v - position) < half] or [known.shape[axis] - 1])
        assert (target[index] != 255) == known[np.ix_(*near)].any()


@pytest.mark.parametrize("overlapping", [False, True])
def test_classes_without_annotation_are_background(tmp_path, overlapping):
    label = np.random.RandomState(0).randint(0, 3, size=(10, 11, 12)).astype(np.uint8)
    volume = read_labels(save_nifti(tmp_path / "l.nii.gz", label))
    labels = Labels({"all": (1, 2), "two": (2,)}, (1, 2)) if overlapping else LABELS
    image = preprocess(volume, Preprocessing((1.0, 1.0, 1.0), nonzero=False))
    target = preprocess_target(volume, labels, image, unannotated=[labels.names[1]])
    expected = [label > 0, label * 0] if overlapping else [label == 1]
    np.testing.assert_array_equal(target, expected)


def balls(position_mm, middle_mm):
    """Return a label map of three touching balls around a position in mm."""
    label = np.zeros(position_mm.shape[:3], dtype=np.uint8)
    for value, offset in enumerate(([0, 0, 0], [12, 0, 0], [0, 11, 3]), start=1):
        label[(np.linalg.norm(position_mm - middle_mm - offset, axis=-1) < 6.5) & (label == 0)] = value
    return label


@pytest.mark.parametrize("regions", [False, True])
def test_target_on_another_spacing_keeps_place_and_volume(tmp_path, regions):
    """On average over many positions, because a structure gains or loses a slice that appears twice or not at all."""
    labels = Labels({"all": (1, 2, 3), "two": (2,)}, (1, 2)) if regions else LABELS
    affine, spacing = oblique_affine((1.0, 1.0, 3.0)), (1.2, 1.2, 2.6)
    position = positions_mm((36, 34, 14), affine)
    ratios, shifts = [], []
    for slide_mm in np.linspace(-9, 8, 18):
        label = balls(position, position.reshape(-1, 3).mean(axis=0) + [0, 0, slide_mm - 1])
        volume = read_labels(save_nifti(tmp_path / "l.nii.gz", label, affine))
        preprocessed = preprocess(volume, Preprocessing(spacing, nonzero=False))
        target = preprocess_target(volume, labels, preprocessed)
        for i, group in enumerate(labels.integers.values()):
            found, true = target[i] if regions else target[0] == i + 1, np.isin(label, group)
            ratios.append(found.sum() * np.prod(spacing) / (true.sum() * 3.0))
            centres = [
                mm[:3, :3] @ np.argwhere(mask).mean(axis=0) + mm[:3, 3]
                for mm, mask in ((affine_of(preprocessed.scan_grid, affine), found), (affine, true))
            ]
            shifts.append(centres[0] - centres[1])
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=0.15)


@pytest.mark.parametrize("nonzero", [False, True])
@pytest.mark.parametrize("factor", [100, -100])
def test_a_spike_does_not_take_the_contrast_of_the_other_voxels(tmp_path, factor, nonzero):
    array = np.random.RandomState(0).uniform(100, 200, (24, 25, 26)).astype(np.float32)
    way = Preprocessing((1.0, 1.0, 1.0), nonzero)
    clean = preprocess(read_volume(save_nifti(tmp_path / "clean.nii.gz", array)), way).image
    array[12, 13, 14] *= factor
    spiked = preprocess(read_volume(save_nifti(tmp_path / "spiked.nii.gz", array)), way).image
    assert abs(spiked[0, 12, 13, 14]) > 20  # it stays the brightest or darkest
    spiked[0, 12, 13, 14] = clean[0, 12, 13, 14]
    torch.testing.assert_close(spiked, clean, atol=0.1, rtol=0)


@pytest.mark.parametrize(("empty", "stray"), [(0, -3), (-1024, -1030), (7, 7), (0, 0)])
def test_a_stray_value_below_the_background_changes_nothing(tmp_path, empty, stray):
    """Skull-stripped images that were resampled with splines have negative values around the head."""
    random = np.random.RandomState(0)
    array = np.full((16, 15, 14), empty, dtype=np.float32)
    array[4:10, 3:11, 5:9] = random.uniform(100, 200, (6, 8, 4))
    array[1, 1, 1] = stray
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", array))
    preprocessed = preprocess(volume, Preprocessing((1.0, 1.0, 1.0), nonzero=empty == 0))
    assert preprocessed.image.shape == (1, 6, 8, 4)
    extent = measure_extent(volume)
    assert extent.box == (6, 8, 4)
    assert extent.kept == (6 * 8 * 4 / array.size if empty == 0 else 1), "a margin of another value is no mask of zeros"
    np.testing.assert_allclose(affine_of(preprocessed.scan_grid, volume.affine)[:3, 3], (4, 3, 5))
    if empty == 0:
        assert preprocessed.background.tolist() == [0]


@pytest.mark.parametrize("shift", [-0.6, 0.0, 0.6])
def test_a_masked_head_with_a_mean_of_zero_has_the_background_zero(tmp_path, shift):
    """Other programs normalise inside the mask and leave 0 outside: half of the head is darker than the background."""
    array = np.zeros((20, 18, 16), dtype=np.float32)
    array[3:17, 4:15, 2:13] = np.random.RandomState(0).normal(shift, 1, (14, 11, 11))
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", array))
    preprocessed = preprocess(volume, Preprocessing((1.0, 1.0, 1.0), nonzero=True))
    assert preprocessed.image.shape == (1, 14, 11, 11)
    assert preprocessed.background.tolist() == [0]
    assert measure_extent(volume).box == (14, 11, 11)


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_the_background_is_not_a_bright_frame_nor_a_rare_value(tmp_path, share):
    """Without a common value on the faces, or if most voxels are darker than it, the lowest value is the background."""
    array = np.random.RandomState(0).uniform(10, 100, (12, 12, 12)).astype(np.float32)
    frame = np.ones(array.shape, dtype=bool)
    frame[1:-1, 1:-1, 1:-1] = False
    frame[np.random.RandomState(1).uniform(size=array.shape) > share] = False
    array[frame] = 255 if share == 1 else 20
    array[5, 5, 5] = 0
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", array))
    found = find_background(torch.from_numpy(volume.array))
    assert found.tolist() == [0]
    assert preprocess(volume, Preprocessing((1.0, 1.0, 1.0), False)).image.shape == (1, 12, 12, 12)


def test_air_is_told_apart_in_the_prepared_image(tmp_path):
    array = np.random.RandomState(0).uniform(100, 200, (6, 8, 4)).astype(np.float32)
    array[2:4, 1:3] = -5
    preprocessed = preprocess(
        read_volume(save_nifti(tmp_path / "a.nii.gz", array)), Preprocessing((1.0, 1.0, 1.0), False)
    )
    assert torch.equal(preprocessed.image[0] == preprocessed.background, torch.from_numpy(array == -5))


def test_constant_image_is_kept_whole_and_finite(tmp_path):
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", np.full((5, 6, 7), 3, dtype=np.float32)))
    preprocessed = preprocess(volume, Preprocessing((1.0, 1.0, 1.0), nonzero=False))
    assert preprocessed.image.shape == (1, 5, 6, 7)
    assert np.isfinite(preprocessed.image.numpy()).all()


def test_channels_on_other_grids_are_refused(tmp_path):
    one = save_nifti(tmp_path / "a_0000.nii.gz", np.zeros((4, 4, 4), dtype=np.float32))
    two = save_nifti(tmp_path / "a_0001.nii.gz", np.zeros((4, 4, 5), dtype=np.float32))
    with pytest.raises(DataError, match=r"a_0001\.nii\.gz: grid is \(4, 4, 5\)"):
        read_channels(Case("a", (one, two)))
    same = save_nifti(tmp_path / "a_0001.nii.gz", np.ones((4, 4, 4), dtype=np.float32))
    assert read_channels(Case("a", (one, same))).array[1].min() == 1
    total = 4 * read_channels(Case("a", (one, same))).array.size
    read_channels(Case("a", (one,)), memory=total // 2)
    read_channels(Case("a", (one, same)), memory=2 * total)  # each file, and all in one array
    with pytest.raises(DataError, match=r"\.nii\.gz: its header has a grid of"):
        read_channels(Case("a", (one, same)), memory=2 * total - 1)
    with pytest.raises(DataError, match="grid is"):
        read_case_label(
            Case("a", (one,), save_nifti(tmp_path / "l.nii.gz", np.zeros((5, 4, 4)))), read_channels(Case("a", (one,)))
        )


@pytest.mark.parametrize("scale", [1e-30, 1e-21, 1.0, 1e15, 1e20, 1e34])
def test_values_of_any_size_are_brought_to_one_scale(tmp_path, scale):
    """Squares of 1e20 overflow float32, and squares of 1e-30 underflow."""
    array = np.random.RandomState(0).uniform(1, 2, (6, 7, 8))
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", (array * scale).astype(np.float32)))
    preprocessed = preprocess(volume, Preprocessing((1.0, 1.0, 1.0), nonzero=False)).image
    expected = (array - array.mean()) / array.std()
    torch.testing.assert_close(preprocessed[0], torch.from_numpy(expected).float(), atol=1e-4, rtol=1e-4)
