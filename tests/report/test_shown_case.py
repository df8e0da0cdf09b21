import dataclasses
import gzip

import nibabel as nib
import numpy as np
import pytest

from attention_unet.errors import DataError
from attention_unet.evaluation.evaluated_files import read_evaluated_files
from attention_unet.report.shown_case import show_case
from tests.conftest import save_nifti
from tests.report.build import GRID, STORED, as_stored, build_evaluation

ALL = 10**9


def unpacked(shown):
    """Return channels, reference, prediction and attention maps, (I, J, K) along RAS+ axes."""
    content, first, arrays = gzip.decompress(shown.voxels), 0, []
    facts = shown.facts
    shapes = [facts["shape"]] * (len(facts["channels"]) + 2) + [one["shape"] for one in facts["maps"]]
    for shape in shapes:
        size = int(np.prod(shape))
        arrays.append(np.frombuffer(content[first : first + size], np.uint8).reshape(shape, order="F"))
        first += size
    assert first == len(content)
    return arrays


@pytest.mark.parametrize("case", STORED)
def test_every_voxel_lies_where_the_file_has_it(tmp_path, case):
    evaluation = build_evaluation(tmp_path, [case])
    shown = show_case(read_evaluated_files(evaluation), case, {}, ALL)
    image = nib.load(tmp_path / "i" / f"{case}.nii.gz")
    label, predicted = (np.asarray(nib.load(tmp_path / of / f"{case}.nii.gz").dataobj) for of in "rp")
    stored = np.asarray(image.dataobj)
    grey, true, predicted_voxels, _ = unpacked(shown)
    facts = shown.facts
    assert tuple(facts["shape"]) == GRID
    low = facts["channels"][0]["low"]
    for voxel in np.ndindex(*GRID):
        index = np.array(facts["to_file"]) @ (*voxel, 1)
        assert stored[tuple(index)] == low + grey[voxel]
        assert (label[tuple(index)], predicted[tuple(index)]) == (true[voxel], predicted_voxels[voxel])
        np.testing.assert_allclose(np.array(facts["to_mm"]) @ (*voxel, 1), (image.affine @ (*index, 1))[:3], atol=1e-4)
    canonical = nib.as_closest_canonical(image)
    np.testing.assert_array_equal(np.asarray(canonical.dataobj), low + grey.astype(float))
    assert facts["channels"][0]["exact"]
    assert facts["whole"]
    assert facts["tilt_degrees"] == pytest.approx(9.0, abs=0.1)


def test_ignored_voxels_are_marked_in_the_reference(tmp_path):
    files = read_evaluated_files(build_evaluation(tmp_path, ["turned"]))
    expected = unpacked(show_case(files, "turned", {}, 700))
    first = next(iter(files.labels.integers))
    (integer,) = files.labels.integers[first]
    others = {name: group for name, group in files.labels.integers.items() if name != first}
    ignoring = dataclasses.replace(files, labels=dataclasses.replace(files.labels, ignore=integer))
    _, reference, prediction, *_ = unpacked(show_case(ignoring, "turned", {}, 700))
    assert others
    np.testing.assert_array_equal(reference == 255, expected[1] == 1)
    np.testing.assert_array_equal(reference[reference != 255], expected[1][expected[1] != 1])
    np.testing.assert_array_equal(prediction, expected[2])


@pytest.mark.parametrize("most", [2000, 700, 100])
def test_a_large_scan_is_cut_to_its_structures_then_thinned(tmp_path, most):
    evaluation = build_evaluation(tmp_path, ["turned"])
    shown = show_case(read_evaluated_files(evaluation), "turned", {}, most)
    grey, true, *_ = unpacked(shown)
    facts = shown.facts
    assert grey.size <= most
    stored, label = (np.asarray(nib.load(tmp_path / of / "turned.nii.gz").dataobj) for of in "ir")
    for voxel in np.ndindex(*facts["shape"]):
        index = tuple(np.array(facts["to_file"]) @ (*voxel, 1))
        assert min(index) >= 0
        assert stored[index] == facts["channels"][0]["low"] + grey[voxel]
        assert label[index] == true[voxel]
    assert true.any()
    assert max(facts["step"]) > 1 or not facts["whole"]


def test_values_of_many_steps_are_told_within_one(tmp_path):
    evaluation = build_evaluation(tmp_path, ["plain"])
    path = tmp_path / "i" / "plain.nii.gz"
    values = np.random.default_rng(0).normal(500, 200, GRID).astype(np.float32)
    save_nifti(path, values, nib.load(path).affine)
    shown = show_case(read_evaluated_files(evaluation), "plain", {}, ALL)
    grey = unpacked(shown)[0]
    channel = shown.facts["channels"][0]
    assert not channel["exact"]
    step = (channel["high"] - channel["low"]) / 255
    within = (values > channel["low"]) & (values < channel["high"])
    assert within.mean() > 0.99
    assert np.abs(channel["low"] + step * grey - values)[within].max() <= step / 2 + 1e-3


def test_attention_is_kept_in_voxels_of_its_level(tmp_path):
    evaluation = build_evaluation(tmp_path, ["turned"])
    shown = show_case(read_evaluated_files(evaluation), "turned", {"skip 1": as_stored("turned", [2.0, 3.0, 4.0])}, ALL)
    (level,) = shown.facts["maps"]
    assert (level["name"], level["top"]) == ("attention, skip 1, voxels of 2 x 3 x 4 mm", 1)
    assert level["shape"] == [7, 9, 5]
    weights = unpacked(shown)[3]
    true = unpacked(shown)[1]
    for voxel in np.ndindex(*level["shape"]):
        corner = tuple(slice(2 * a, 2 * a + 2) for a in voxel)
        inside = true[corner] > 0
        if inside.all() or not inside.any():
            assert weights[voxel] == round(0.75 * 255) * inside.all()


def test_attention_is_taken_from_the_middle_of_its_voxels(tmp_path):
    evaluation = build_evaluation(tmp_path, ["plain"])
    path = tmp_path / "p" / "attention" / "plain_skip1.nii.gz"
    ramp = np.broadcast_to(np.arange(GRID[0], dtype=np.float32)[:, None, None] / 51, GRID).copy()
    save_nifti(path, ramp, nib.load(path).affine)
    shown = show_case(read_evaluated_files(evaluation), "plain", {"skip 1": [3.0, 4.5, 6.0]}, ALL)
    assert shown.facts["maps"][0]["shape"] == [5, 6, 3]
    assert (unpacked(shown)[3][:, 0, 0] / 5).tolist() == [1, 4, 7, 10, 13]


def test_all_channels_are_kept(tmp_path):
    evaluation = build_evaluation(tmp_path, ["turned"])
    files = read_evaluated_files(evaluation)
    image = nib.load(tmp_path / "i" / "turned.nii.gz")
    second = save_nifti(tmp_path / "i2" / "turned.nii.gz", 100 - np.asarray(image.dataobj) / 2, image.affine)
    case = files.cases["turned"]
    both = dataclasses.replace(files, cases={"turned": dataclasses.replace(case, images=(*case.images, second))})
    shown = show_case(both, "turned", {}, 2 * np.prod(GRID))
    one, other, true, _, _ = unpacked(shown)
    first, second = shown.facts["channels"]
    assert (first["exact"], second["exact"]) == (True, False)
    step, values = (second["high"] - second["low"]) / 255, 100 - one / 2.0
    within = (values >= second["low"]) & (values <= second["high"])
    assert within.mean() > 0.99
    np.testing.assert_allclose((second["low"] + other * step)[within], values[within], atol=step / 2 + 1e-6)
    assert true.max() == 2


def test_what_is_not_there_is_told(tmp_path):
    evaluation = build_evaluation(tmp_path, ["plain"], scans=False)
    (tmp_path / "p" / "plain.nii.gz").unlink()
    files = read_evaluated_files(evaluation)
    with pytest.raises(DataError, match="cannot be read"):
        show_case(files, "plain", {}, ALL)
    missing = dataclasses.replace(files, predicted={})
    shown = show_case(missing, "plain", {}, ALL)
    assert (shown.facts["predicted"], shown.facts["channels"]) == (False, [])
    true, predicted = unpacked(shown)
    assert true.max() == 2
    assert not predicted.any()


def test_a_scan_of_another_grid_is_not_shown_and_a_prediction_is_refused(tmp_path):
    evaluation = build_evaluation(tmp_path, ["plain"])
    save_nifti(tmp_path / "i" / "plain.nii.gz", np.zeros(GRID, dtype=np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    shown = show_case(read_evaluated_files(evaluation), "plain", {}, ALL).facts
    assert shown["channels"] == []
    assert "affines must agree" in shown["problem"]
    save_nifti(tmp_path / "p" / "plain.nii.gz", np.zeros(GRID, dtype=np.uint8), np.diag([3.0, 3.0, 3.0, 1.0]))
    with pytest.raises(DataError, match="affines must agree"):
        show_case(read_evaluated_files(evaluation), "plain", {}, ALL)
