"""Masks of a folder, and of a BIDS dataset."""

import json
from pathlib import Path

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.dataset.reading import read_channels
from attention_unet.errors import ConfigError, DataError
from attention_unet.evaluation.evaluate import evaluate_folder
from attention_unet.evaluation.evaluated_files import read_evaluated_files
from attention_unet.evaluation.found_masks import find_images, find_labels, find_masks
from attention_unet.inference.predict_tree import predict_tree
from attention_unet.inference.settings import Settings
from attention_unet.scans.labels import Labels
from tests.conftest import read_csv, save_nifti
from tests.evaluation.build import AFFINE, label_map
from tests.inference.build import model_of
from tests.scans.dicom_files import slice_of, write_slices

LABELS = Labels({"a": (1,), "b": (2, 3)}, (1, 2))
SCANS = ["sub-01/ses-a/anat/sub-01_ses-a", "sub-01/ses-b/anat/sub-01_ses-b", "sub-02/anat/sub-02_run-1"]


def test_a_description_that_was_not_fetched_is_no_absent_description(tmp_path):
    (tmp_path / "dataset.json").symlink_to(".git/annex/objects/x")
    with pytest.raises(DataError, match=r"dataset\.json: is a link to \.git/annex/objects/x, which does not exist"):
        find_labels(tmp_path / "p", tmp_path / "r", {}, {}, [])


def test_folders_of_a_tree_that_are_not_scored_are_told(tmp_path, caplog):
    for folder in ("p", "p/a", "p/b", "r/a/deep", "r/.b", "r/c"):
        save_nifti(tmp_path / folder / "x.nii.gz", label_map(), AFFINE)
    for folder in ("p", "r"):
        (tmp_path / folder / "notes").mkdir()
        save_nifti(tmp_path / folder / "attention" / "x_skip1.nii.gz", label_map(), AFFINE)
    with pytest.raises(ConfigError, match=r"r: holds no image file: expected the true label maps; name one of a/$"):
        find_masks(tmp_path / "p", tmp_path / "r")
    save_nifti(tmp_path / "r" / "x.nii.gz", label_map(), AFFINE)
    known, predicted = find_masks(tmp_path / "p", tmp_path / "r")
    assert [*known] == [*predicted] == ["x"]
    assert caplog.messages == [f"{tmp_path / 'r'}: not scored: a/: evaluate each folder by itself"]


def test_where_classes_are_named(tmp_path, monkeypatch, caplog):
    save_nifti(tmp_path / "r" / "x.nii.gz", label_map(), AFFINE)
    (tmp_path / "p").mkdir()

    def labels():
        return find_labels(tmp_path / "p", tmp_path / "r", {"x": tmp_path / "r" / "x.nii.gz"}, {}, ["x"])

    assert labels().names == ("label 1", "label 2", "label 3")
    (tmp_path / "p" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "of nnU-Net": 1}}))
    assert labels().names == ("of nnU-Net",)
    (tmp_path / "p" / "run.json").write_text(json.dumps({"labels": LABELS.to_json()}))
    assert labels() == LABELS
    (tmp_path / "p" / "run.json").write_text('{"labels": {"integers": {"a": ["x"]}, "painted": [1]}}')
    with pytest.raises(DataError, match=r"run\.json: is damaged \(.*'x'\): expected what predict writes; remove it"):
        labels()
    (tmp_path / "p" / "run.json").write_text("[]")
    with pytest.raises(DataError, match=r"run\.json: not a JSON object"):
        labels()
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "of another tool"}))
    (tmp_path / "p" / "run.json").unlink()
    (tmp_path / "p" / "dataset.json").unlink()
    assert labels().names == ("label 1", "label 2", "label 3")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "one"}}))
    assert labels().names == ("one",)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"a": 2, "b": 1}}))
    for file in ("run.json", "dataset.json"):
        text = json.dumps({"labels": LABELS.to_json() if file == "run.json" else {"a": 1, "b": 2}})
        (tmp_path / "p" / file).write_text(text)
        caplog.clear()
        assert labels().integers == {"a": (2,), "b": (1,)}
        assert f"{file}: a is (1,), but is scored as (2,): are these masks of other classes" in caplog.text
        (tmp_path / "p" / file).unlink()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "one"}}))
    (tmp_path / "p" / "run.json").write_text("[]")  # it decides nothing
    assert labels().names == ("one",)
    (tmp_path / "p" / "run.json").unlink()
    monkeypatch.chdir(tmp_path / "r")  # the parent of "." is "." for pathlib
    assert find_labels(tmp_path / "p", Path("."), {"x": Path("x.nii.gz")}, {}, ["x"]).names == ("one",)


@pytest.fixture
def bids(tmp_path):
    """Return a BIDS dataset of three scans with true label maps, predicted by a model that finds bright voxels."""
    root = tmp_path / "raw"
    for seed, name in enumerate(SCANS):
        truth = np.zeros((12, 10, 8), np.uint8)
        truth[3:7, 3:6, 3:6], truth[8 + seed :, 3:6, 3:6] = 3, 9
        image = np.random.RandomState(seed).normal(size=truth.shape).astype(np.float32) + 5 * (truth > 0)
        save_nifti(root / f"{name}_T1w.nii.gz", image, np.eye(4))
        save_nifti(root / "derivatives" / "manual" / f"{name}_desc-expert_dseg.nii.gz", truth, np.eye(4))
    (root / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.10.0"}))
    wanted = Settings(attention=True, probabilities=True)
    assert predict_tree([model_of()], root, root / "derivatives" / "masks", wanted, bids=["T1w"]) == {}
    return root


def test_masks_of_a_bids_dataset_are_those_of_a_folder(bids, tmp_path):
    """The same masks in plain folders, under plain names, have the same scores."""
    masks, manual = bids / "derivatives" / "masks", bids / "derivatives" / "manual"
    for kind, folder in (("p", masks), ("r", manual)):
        (tmp_path / kind).mkdir()
        for path in folder.rglob("sub-*_dseg.nii.gz"):
            if path.parent.name == "anat":
                name = path.name.partition("_space")[0].partition("_desc")[0]
                (tmp_path / kind / f"{name}.nii.gz").write_bytes(path.read_bytes())
    assert len(list((tmp_path / "p").iterdir())) == len(list((tmp_path / "r").iterdir())) == 3
    summary, failed = evaluate_folder(masks, manual, tmp_path / "of-bids", images=bids)
    assert failed == {}
    (tmp_path / "p" / "run.json").write_bytes((masks / "sub-02" / "anat" / "run.json").read_bytes())
    plain, _ = evaluate_folder(tmp_path / "p", tmp_path / "r", tmp_path / "of-folder")
    rows, expected = (read_csv(tmp_path / of / "metrics.csv") for of in ("of-bids", "of-folder"))
    assert {row["class"] for row in rows} >= {"bright", "dark"}  # of the model
    assert {row["case"]: row["subject"] for row in rows} == {
        "sub-01_ses-a": "sub-01",
        "sub-01_ses-b": "sub-01",
        "sub-02_run-1": "sub-02",
    }
    assert [{**row, "subject": ""} for row in rows] == expected
    assert summary.foreground_mean["dice"] == plain.foreground_mean["dice"]
    for name in ("calibration.csv", "attention.csv", "picture.png"):
        assert (tmp_path / "of-bids" / name).is_file(), name
    scored = json.loads((tmp_path / "of-bids" / "scored.json").read_text())
    assert scored["cases"]["sub-02_run-1"]["images"] == ["../raw/sub-02/anat/sub-02_run-1_T1w.nii.gz"]
    assert main(["report", str(tmp_path / "of-bids")]) == 0
    assert "attention, skip" in (tmp_path / "of-bids" / "report.html").read_text()


def test_warnings_and_tables_of_a_bids_dataset(bids, tmp_path, capsys):
    masks, manual = bids / "derivatives" / "masks", bids / "derivatives" / "manual"
    for described in (masks / "sub-01").rglob("*_dseg.json"):
        described.write_text(described.read_text() + " ")  # the mask itself is as it was
    edited = next((masks / "sub-02").rglob("*_dseg.nii.gz"))
    save_nifti(edited, np.full((12, 10, 8), 3, np.uint8), np.eye(4))
    call = ["evaluate", "-p", str(masks), "-r", str(manual), "-o", str(tmp_path / "out")]
    assert main(call) == 0
    assert "1 mask changed after prediction, scored with the changes: sub-02_run-1" in capsys.readouterr().err
    for path in masks.rglob("run.json"):
        path.unlink()
    (manual / "dseg.tsv").write_text("index\tname\n3\tleft\n9\tright\n")
    assert main([*call[:-1], str(tmp_path / "named")]) == 0
    rows = read_csv(tmp_path / "named" / "metrics.csv")
    assert {"left", "right"} < {row["class"] for row in rows}


def touch(root, *names):
    for name in names:
        path = root / name.split("_")[0] / "anat" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def pairs(predictions, references):
    known, predicted = find_masks(predictions, references)
    return {case: predicted[case].name.partition(".")[0] if case in predicted else None for case in known}


def test_the_references_say_which_kind_is_compared(tmp_path, caplog):
    """Trees of other tools hold masks of the brain beside label maps of its parts."""
    found = touch(tmp_path / "p", "sub-1_label-lesion_mask", "sub-1_desc-tissue_dseg")
    assert pairs(found, touch(tmp_path / "r", "sub-1_label-lesion_mask")) == {"sub-1": "sub-1_label-lesion_mask"}
    assert "only label maps *_mask are compared, not sub-1_desc-tissue_dseg.nii.gz" in caplog.text
    assert pairs(found, touch(tmp_path / "s", "sub-1_dseg", "sub-2_mask")) == {"sub-1": "sub-1_desc-tissue_dseg"}
    assert "only label maps *_dseg are compared, not sub-2_mask.nii.gz" in caplog.text
    ours = touch(tmp_path / "t", "sub-1_space-orig_desc-attentionunet_dseg")  # predict always writes dseg
    assert pairs(ours, tmp_path / "r") == {"sub-1": "sub-1_space-orig_desc-attentionunet_dseg"}
    with pytest.raises(ConfigError, match=r"q: holds no label map sub-\*_dseg\.nii\.gz, but sub-1_T1w\.nii\.gz: name"):
        pairs(touch(tmp_path / "q", "sub-1_T1w"), tmp_path / "s")


def test_masks_of_other_structures_are_not_compared(tmp_path):
    left, right = "sub-1_hemi-L_label-hippo_dseg", "sub-1_hemi-R_label-hippo_dseg"
    references = touch(tmp_path / "r", left, right)
    both = {"sub-1_hemi-L_label-hippo": left, "sub-1_hemi-R_label-hippo": right}
    assert pairs(touch(tmp_path / "p", left, right), references) == both
    assert pairs(touch(tmp_path / "q", right), touch(tmp_path / "s", left)) == {"sub-1": None}


def test_references_of_one_structure_are_told_beside_predictions_of_several(tmp_path, caplog):
    """Scored against the left side alone, a mask of both would look half wrong."""
    left, right = "sub-1_hemi-L_dseg", "sub-1_hemi-R_dseg"
    found = touch(tmp_path / "p", "sub-1_desc-ours_dseg")
    assert pairs(found, touch(tmp_path / "r", left)) == {"sub-1": "sub-1_desc-ours_dseg"}
    assert "check that both show the same: sub-1_hemi-L_dseg.nii.gz (hemi-L)" in caplog.text
    with pytest.raises(
        DataError, match=r"hemi-R_dseg\.nii\.gz: sub-1_desc-ours_dseg\.nii\.gz is the prediction for it and for"
    ):
        pairs(found, touch(tmp_path / "s", left, right))
    with pytest.raises(DataError, match="is the prediction for it and for label maps of other structures"):
        pairs(found, touch(tmp_path / "u", "sub-1_dseg", left))
    lesions = touch(tmp_path / "v", "sub-1_label-lesion_desc-a_mask", "sub-1_label-lesion_desc-b_mask")
    assert list(pairs(found, lesions).values()) == ["sub-1_desc-ours_dseg"] * 2
    raters = touch(tmp_path / "t", "sub-1_desc-one_dseg", "sub-1_desc-two_dseg")
    assert list(pairs(found, raters).values()) == ["sub-1_desc-ours_dseg"] * 2


def test_a_name_of_another_folder_is_not_scored(tmp_path, caplog):
    touch(tmp_path / "r", "sub-1_dseg", "sub-2_dseg")
    (tmp_path / "r" / "sub-2" / "anat" / "sub-2_dseg.nii.gz").rename(
        tmp_path / "r" / "sub-1" / "anat" / "sub-2_dseg.nii.gz"
    )
    assert pairs(touch(tmp_path / "p", "sub-1_dseg", "sub-2_dseg"), tmp_path / "r") == {"sub-1": "sub-1_dseg"}
    assert "not that of the folder: sub-1/anat/sub-2_dseg.nii.gz" in caplog.text


def test_the_space_of_the_reference_is_taken(tmp_path):
    native, standard = "sub-1_space-orig_desc-ours_dseg", "sub-1_space-MNI152_desc-ours_dseg"
    found = touch(tmp_path / "p", native, standard)
    assert pairs(found, touch(tmp_path / "r", "sub-1_desc-expert_dseg")) == {"sub-1": native}
    assert pairs(found, touch(tmp_path / "s", "sub-1_space-T1w_dseg")) == {"sub-1": native}
    assert pairs(found, touch(tmp_path / "t", "sub-1_space-MNI152_dseg")) == {"sub-1": standard}
    touch(tmp_path / "p", "sub-1_space-orig_desc-other_dseg")
    with pytest.raises(DataError, match=r"sub-1_desc-expert_dseg\.nii\.gz has two predictions"):
        pairs(found, tmp_path / "r")


def test_folders_without_participants_and_other_files(tmp_path, caplog):
    (tmp_path / "flat").mkdir()
    for name in ("sub-1_acq-x_rec-y", "sub-2_desc-a_dseg", "sub-3_dseg"):
        (tmp_path / "flat" / f"{name}.nii.gz").touch()
    tree = touch(tmp_path / "r", "sub-1_rec-y_acq-x_dseg", "sub-2_desc-b_dseg", "sub-4_desc-expert_v2_dseg")
    (tree / "group_mask.nii.gz").touch()
    assert pairs(tmp_path / "flat", tree) == {"sub-1_rec-y_acq-x": "sub-1_acq-x_rec-y", "sub-2": "sub-2_desc-a_dseg"}
    assert pairs(tree, tmp_path / "flat")["sub-2"] == "sub-2_desc-b_dseg"
    assert "not read, because the name is not one of BIDS, or" in caplog.text
    assert "group_mask.nii.gz" in caplog.text
    assert "sub-4_desc-expert_v2_dseg.nii.gz" in caplog.text
    assert "sub-3" in find_masks(tmp_path / "flat", tree)[1]


def test_tables_that_name_classes_otherwise_are_told(bids, tmp_path, caplog):
    masks, manual = bids / "derivatives" / "masks", bids / "derivatives" / "manual"
    (manual / "dseg.tsv").write_text("index\tname\n3\tdark\n9\tbright\n")
    evaluate_folder(masks, manual, tmp_path / "out")
    assert "manual: 3 is called dark, but scored as bright: is it one class?" in caplog.text
    run = masks / "sub-02" / "anat" / "run.json"
    run.write_text(run.read_text().replace('"bright"', '"tumour"'))
    evaluate_folder(masks, manual, tmp_path / "again")
    assert "is of the classes ('tumour', 'dark'), elsewhere ('bright', 'dark')" in caplog.text


def test_pictures_show_the_scan_that_was_predicted(bids, tmp_path, caplog):
    for name in SCANS:
        save_nifti(bids / f"{name}_FLAIR.nii.gz", np.zeros((5, 5, 5), np.float32), np.eye(4))
    masks, manual = bids / "derivatives" / "masks", bids / "derivatives" / "manual"
    evaluate_folder(masks, manual, tmp_path / "out", images=bids)
    scored = json.loads((tmp_path / "out" / "scored.json").read_text())["cases"]
    assert all(case["images"][0].endswith("_T1w.nii.gz") for case in scored.values())
    for path in masks.rglob("*_dseg.json"):
        path.write_text('{"Sources": 5}')
    evaluate_folder(masks, manual, tmp_path / "without-sources", images=bids)
    for path in masks.rglob("*_dseg.json"):
        path.write_text("{")
    _, failed = evaluate_folder(masks, manual, tmp_path / "again", images=bids)
    assert "the picture shows the first scan by name" in caplog.text
    assert "FLAIR" in failed["sub-02_run-1"]
    assert not (tmp_path / "again" / "picture.png").exists()


def test_images_of_scans_that_lack_a_channel(tmp_path):
    for name in ("a_0000", "a_0001", "b_0000", "c_0001"):
        save_nifti(tmp_path / "scans" / f"{name}.nii.gz", np.zeros((4, 4, 4), np.float32))
    found = find_images(tmp_path / "scans", ["a", "b", "c"], {}, False)
    names = {name: [path.name.partition(".")[0] for path in case.images] for name, case in found.items()}
    assert names == {"a": ["a_0000", "a_0001"], "b": ["b_0000"], "c": ["c_0001"]}
    assert {name: case.absent for name, case in found.items()} == {"a": (), "b": (1,), "c": (0,)}


def test_a_channel_that_is_there_is_drawn_and_kept_at_its_place(tmp_path):
    truth = label_map()
    for folder in "pr":
        save_nifti(tmp_path / folder / "c.nii.gz", truth, AFFINE)
    save_nifti(tmp_path / "p" / "d.nii.gz", truth, AFFINE)
    save_nifti(tmp_path / "r" / "d.nii.gz", truth, AFFINE)
    for name in ("c_0001", "d_0000", "d_0001"):
        save_nifti(tmp_path / "scans" / f"{name}.nii.gz", truth.astype(np.float32), AFFINE)
    assert evaluate_folder(tmp_path / "p", tmp_path / "r", tmp_path / "out", images=tmp_path / "scans")[1] == {}
    image = read_channels(read_evaluated_files(tmp_path / "out").cases["c"])
    np.testing.assert_array_equal(image.array, [0 * truth, truth])
    assert (tmp_path / "out" / "picture.png").is_file()


def test_scans_may_be_folders_of_series(tmp_path):
    write_slices(tmp_path / "scans" / "x", [slice_of(np.zeros((4, 5, 3), np.int16), AFFINE, k) for k in range(3)])
    assert find_images(tmp_path / "scans", ["x"], {}, False)["x"].images == (tmp_path / "scans" / "x",)


def test_images_that_are_not_wanted_do_not_decide_what_a_channel_is(tmp_path):
    for name in ("a_0000", "b_0000", "b_0001", "extra_2020"):
        save_nifti(tmp_path / f"{name}.nii.gz", np.zeros((4, 4, 4), np.float32))
    assert find_images(tmp_path, ["a"], {}, False)["a"].images == (tmp_path / "a_0000.nii.gz",)
    both = find_images(tmp_path, ["a", "b"], {}, False)["b"].images
    assert both == (tmp_path / "b_0000.nii.gz", tmp_path / "b_0001.nii.gz")
