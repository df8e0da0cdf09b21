import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.dataset import case_facts
from attention_unet.dataset.case_facts import sizes_of
from attention_unet.dataset.cases import Case, find_readable_cases
from attention_unet.dataset.inspection import check_trainable, inspect
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import volume_of_array
from tests.conftest import oblique_affine, save_nifti

AFFINE = oblique_affine((1.0, 1.0, 3.0), degrees=8.0, axes=(2, 0, 1))
GRID = (12, 16, 14)


@pytest.fixture
def folder(tmp_path):
    """Return a dataset of four good cases with different images and classes 1 and 2."""
    for i, name in enumerate("abcd"):
        image = np.random.RandomState(i).normal(100, 20, size=GRID).astype(np.float32)
        label = np.zeros(GRID, dtype=np.uint8)
        label[2:6, 3:7, 4:8], label[8, 8, 8] = 1, 2
        save_nifti(tmp_path / "images" / f"{name}.nii.gz", image, AFFINE)
        save_nifti(tmp_path / "labels" / f"{name}.nii.gz", label, AFFINE)
    description = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "large": 1, "small": 2, "none": 3}}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    return tmp_path


def without_empty_class(folder):
    """Take the class that no case has out of the description."""
    description = json.loads((folder / "dataset.json").read_text())
    del description["labels"]["none"]
    (folder / "dataset.json").write_text(json.dumps(description))


def look(folder):
    return inspect(*find_readable_cases(folder), {}, lambda: None)


def test_facts(folder):
    found = look(folder)
    assert found.problems == {}
    fact = found.facts[0]
    assert fact.id == "a"
    _, spacings_mm = sizes_of([fact.extent], None)
    assert spacings_mm[0] == pytest.approx((1.0, 1.0, 3.0), abs=1e-3)  # on patient axes, however stored
    assert fact.volumes_ml == pytest.approx({"large": 64 * 3 / 1000, "small": 3 / 1000, "none": 0.0}, rel=1e-3)
    assert fact.shares["large"] == pytest.approx(64 / np.prod(GRID))
    assert fact.quantiles[0, 2] == pytest.approx(100, abs=3)
    assert found.warnings == ["the class none is in no case"]


def test_quantiles_are_of_all_slices_even_of_large_scans(monkeypatch):
    monkeypatch.setattr(case_facts, "QUANTILE_VOXELS", 16)
    image, label = np.ones((4, 4, 6), np.float32), np.zeros((4, 4, 6), np.uint8)
    image[..., 0] = 0  # a step of six voxels would see this slice only
    volumes = (volume_of_array(array, np.eye(4)) for array in (image, label))
    fact = case_facts.measure_case(Case("a", (), None), *volumes, Labels({"a": (1,)}, (1,)), ())
    assert fact.quantiles[0, 2] == 1


def test_a_stack_that_is_turned_against_the_others_is_told(folder):
    assert not any("turned" in text for text in look(folder).warnings)
    heart = np.eye(4)
    heart[:3, :3] = np.linalg.qr([[-0.70, 0.44, -0.62], [-0.70, -0.32, 0.57], [-0.10, -0.83, -0.54]])[0] * [1, 1, 3]
    for kind in ("images", "labels"):
        file = folder / kind / "a.nii.gz"
        save_nifti(file, np.asanyarray(nib.load(file).dataobj).transpose(1, 2, 0), heart)
    (text,) = (text for text in look(folder).warnings if "turned" in text)
    assert text.startswith("a: its axes are turned by up to 68 degrees against those of a typical scan")


def test_problems_of_files_that_are_only_looked_for_are_told_with_the_others(folder):
    (folder / "dataset.json").unlink()  # classes and channels are then those of the files
    for name in "ab":
        (folder / "labels" / f"{name}.nii.gz").write_bytes(b"broken")
    (folder / "images" / "c.nii.gz").write_bytes(b"broken")
    (folder / "images" / "d.nii.gz").rename(folder / "images" / "e.nii.gz")
    save_nifti(folder / "images" / "f.nii.gz", np.random.RandomState(5).normal(size=GRID).astype(np.float32), AFFINE)
    save_nifti(folder / "labels" / "f.nii.gz", np.ones(GRID, dtype=np.uint8), AFFINE)
    found = look(folder)
    assert sorted(found.problems) == list("abcde")
    assert "d.nii.gz: has no image" in found.problems["d"]
    assert "e.nii.gz: has no label" in found.problems["e"]
    assert [fact.id for fact in found.facts] == ["f"]


def test_warnings(folder):
    (folder / "images" / "b.nii.gz").write_bytes((folder / "images" / "a.nii.gz").read_bytes())
    save_nifti(folder / "images" / "c.nii.gz", np.ones(GRID, dtype=np.float32), AFFINE)
    far = AFFINE @ np.diag([2.5, 1, 1, 1])
    for part in ("images", "labels"):
        value = np.random.RandomState(9).normal(size=GRID) if part == "images" else np.zeros(GRID)
        save_nifti(folder / part / "d.nii.gz", value.astype(np.float32 if part == "images" else np.uint8), far)
    found = look(folder).warnings
    assert any("the same image 2 times: a, b" in warning for warning in found)
    assert any(warning.startswith("c: channel 0 has the same value everywhere") for warning in found)
    assert any(warning.startswith("d: voxels of") for warning in found)
    assert "d: no class is in its label map" in found


def test_labels_in_the_margin_that_is_cut_off_are_told(folder):
    image = np.random.RandomState(3).normal(100, 20, size=GRID).astype(np.float32)
    image[5:] = 0  # a quarter of the large class and all of the small one
    save_nifti(folder / "images" / "b.nii.gz", image, AFFINE)
    found = look(folder)
    assert [fact.cut_off for fact in found.facts] == pytest.approx([0, 17 / 65, 0, 0])
    told = [warning for warning in found.warnings if "empty margin" in warning]
    assert [warning.partition(":")[0] for warning in told] == ["b"]
    assert "more than 1 % of its labelled voxels" in told[0]


def test_a_time_series_of_channels_is_told(folder):
    def facts(channels):
        for i, name in enumerate("abcd"):
            frames = np.random.RandomState(i).normal(100, 20, size=(*GRID, channels)).astype(np.float32)
            save_nifti(folder / "images" / f"{name}.nii.gz", frames, AFFINE)
        description = json.loads((folder / "dataset.json").read_text())
        description["channel_names"] = {str(n): f"frame {n}" for n in range(channels)}
        (folder / "dataset.json").write_text(json.dumps(description))
        return [warning for warning in look(folder).warnings if "time series" in warning]

    assert len(facts(6)) == 4
    assert facts(4) == []  # as of four sequences


def test_a_class_that_no_held_out_case_has_is_told(folder):
    facts = look(folder).facts
    facts[0].volumes_ml["small"] = facts[1].volumes_ml["small"] = 0.0
    assert check_trainable(facts, ["a", "b"], ["large", "small"]) == [
        "the class small is in no held-out case: its Dice cannot be measured; try another data.fold"
    ]
    assert check_trainable(facts, [], ["large", "small"]) == []  # nothing is held out
    assert check_trainable(facts, ["b", "c"], ["large", "small"]) == []


def test_a_class_that_vanishes_in_all_cases_that_are_trained_on_is_told(folder):
    facts = look(folder).facts
    facts = [replace(fact, lost=("small",)) if fact.id != "d" else fact for fact in facts]
    (told,) = check_trainable(facts, ["d"], ["large", "small"])
    assert told.startswith("the class small has no voxel on the network's grid in any case that is trained on")
    assert check_trainable(facts, ["a"], ["large", "small"]) == []


def test_the_command(folder, capsys):
    call = ["inspect", str(folder), "--network.base_channels", "4", "--data.folds", "4"]
    assert main(call) == 1  # as a training would refuse it
    printed = capsys.readouterr()
    for word in ("4 cases, 4 can be trained on", "left-right", "large", "patch", "patches a second"):
        assert word in printed.out
    assert "the class none is in no case: take it out of dataset.json" in printed.err
    without_empty_class(folder)
    assert main(call) == 0
    assert main(["inspect", str(folder), "--no-trial"]) == 2
    assert "data.folds is 5, but the dataset has 4 cases: lower data.folds to 4" in capsys.readouterr().err
    (folder / "images" / "a.nii.gz").write_bytes(b"broken")
    assert main(["inspect", str(folder), "--json", "--no-trial"]) == 1
    plain = json.loads(capsys.readouterr().out)
    assert list(plain["problems"]) == ["a"]
    assert plain["plan"]["preprocessing"]["spacing_mm"] == pytest.approx([1, 1, 3], abs=1e-3)
    assert main(["inspect", str(folder / "nowhere")]) == 2


def test_a_trial_of_what_cannot_be_built_or_of_one_share(folder, capsys):
    without_empty_class(folder)
    small = ["--network.base_channels", "4", "--data.patch", "[8,8,8]"]
    for options in ([], ["--no-trial"]):
        assert main(["inspect", str(folder), *small, *options, "--attention.skips", "gat"]) == 2
        printed = capsys.readouterr()
        assert "did you mean gate?" in printed.err
        assert "left-right" in printed.out  # the inspection is printed nevertheless
    small += ["--data.folds", "4"]
    assert main(["inspect", "--data.root", str(folder), *small, "--training.devices", "2"]) == 0
    assert "a step of 2 patches" in capsys.readouterr().out
    odd = ["--training.batch", "1", "--training.devices", "2"]
    assert main(["inspect", "--data.root", str(folder), *small, *odd]) == 2
    assert "expected a multiple of the 2 processes" in capsys.readouterr().err


@pytest.mark.parametrize(("labels", "told"), [({"a": 1, "b": 2}, True), ({"all": [1, 2], "b": [2]}, False)])
def test_background_is_found_although_classes_overlap(folder, labels, told):
    """Nested classes have 5 and 2 twelfths of the voxels; 6 are annotated."""
    label = np.full(GRID, 9, dtype=np.uint8)
    label[:3], label[3:5] = 1, 2
    label[5:6] = 9 if told else 0
    for name in "abcd":
        save_nifti(folder / "labels" / f"{name}.nii.gz", label, AFFINE)
    described = {"channel_names": {"0": "T1"}, "labels": {"background": 0, **labels, "ignore": 9}}
    if not told:
        described["regions_class_order"] = [1, 2]
    (folder / "dataset.json").write_text(json.dumps(described))
    warned = [text for text in look(folder).warnings if text.startswith("no annotated voxel is background")]
    assert bool(warned) == told


@pytest.mark.parametrize("apart", [True, False])
def test_one_structure_with_two_integers_is_told(folder, apart):
    (folder / "dataset.json").unlink()
    for number, name in enumerate("abcd"):
        file = folder / "labels" / f"{name}.nii.gz"
        label = np.asanyarray(nib.load(file).dataobj).copy()
        label[label > 0] = 255 if number % 2 and apart else 1
        if not apart:
            label[0, 0, 0] = 255
        save_nifti(file, label, AFFINE)
    text = "no case has more than one of the classes label 1, label 255: is it one structure"
    assert any(warning.startswith(text) for warning in look(folder).warnings) == apart
