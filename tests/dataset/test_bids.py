"""Labelled scans of BIDS datasets."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.config import DataConfig
from attention_unet.dataset.bids import find_bids_cases, is_in_its_folder
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.errors import ConfigError, DataError
from tests.conftest import save_nifti

LABELS = DataConfig().bids_labels
SCANS = ("sub-01/ses-a/anat/sub-01_ses-a", "sub-01/ses-b/anat/sub-01_ses-b", "sub-02/anat/sub-02_run-1")
ALONE = ("sub-02/anat/sub-02_run-2",)


@pytest.fixture
def bids(tmp_path):
    """Return a BIDS dataset of three scans with label maps, and one without."""
    root = tmp_path / "raw"
    grid = np.zeros((12, 10, 8), np.uint8)
    grid[3:6, 3:6, 3:6], grid[7:9, 3:6, 3:6] = 1, 5
    for seed, name in enumerate((*SCANS, *ALONE)):
        noise = np.random.RandomState(seed).normal(size=grid.shape).astype(np.float32)
        for suffix in ("T1w", "FLAIR"):
            save_nifti(root / f"{name}_{suffix}.nii.gz", noise + 3 * grid, np.eye(4))
    for name in SCANS:
        save_nifti(root / "derivatives" / "manual" / f"{name}_space-orig_desc-expert_dseg.nii.gz", grid, np.eye(4))
    (root / "derivatives" / "manual" / "desc-expert_dseg.tsv").write_text("index\tname\n0\tnothing\n1\tleft\n9\tno\n")
    save_nifti(
        root / "derivatives" / "masks" / f"{SCANS[0]}_space-orig_desc-attentionunet_dseg.nii.gz", grid, np.eye(4)
    )
    (root / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.10.0"}))
    return root


def test_scans_and_label_maps_are_paired_by_their_entities(bids, caplog):
    dataset, problems = find_bids_cases(bids, ["T1w", "FLAIR"], LABELS)
    assert problems == {}
    assert [case.id for case in dataset.cases] == ["sub-01_ses-a", "sub-01_ses-b", "sub-02_run-1"]
    assert dataset.channels == ("T1w", "FLAIR")
    assert [path.name for path in dataset.cases[2].images] == ["sub-02_run-1_T1w.nii.gz", "sub-02_run-1_FLAIR.nii.gz"]
    assert dataset.cases[2].label.name == "sub-02_run-1_space-orig_desc-expert_dseg.nii.gz"
    assert dataset.labels.integers == {"left": (1,), "label 5": (5,)}
    assert "no table names 5: called label 5" in caplog.text


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("sub-01/ses-a/anat/x", True),
        ("sub-study/sub-01/ses-a/anat/x", True),
        ("sub-01_ses-a/x", True),
        ("sub-01_ses-a_T1w/x", True),
        ("flat/x", True),
        ("x", True),
        ("sub-01/anat/x", True),
        ("sub-02/ses-a/anat/x", False),
        ("sub-01/ses-b/anat/x", False),
    ],
)
def test_participant_and_session_are_those_of_the_folder(path, fits):
    assert is_in_its_folder(Path(path), "sub-01_ses-a_run-1") == fits


def test_what_is_incomplete_or_ambiguous_is_named(bids, caplog):
    label = bids / "derivatives" / "manual" / f"{SCANS[0]}_space-orig_desc-expert_dseg.nii.gz"
    save_nifti(bids / "derivatives" / "second" / f"{SCANS[0]}_desc-x_dseg.nii.gz", np.zeros((12, 10, 8)), np.eye(4))
    (bids / f"{SCANS[1]}_FLAIR.nii.gz").unlink()
    of_another = bids / "derivatives" / "manual" / "sub-09" / "sub-09_dseg.nii.gz"
    of_another.parent.mkdir(parents=True)
    of_another.write_bytes(label.read_bytes())
    misplaced = label.parent.parent.parent / "ses-b" / "anat" / label.name
    misplaced.parent.mkdir(parents=True, exist_ok=True)
    misplaced.write_bytes(label.read_bytes())
    dataset, problems = find_bids_cases(bids, ["T1w", "FLAIR"], LABELS)
    assert f"not that of the folder: {misplaced.relative_to(bids)}" in caplog.text
    assert [case.id for case in dataset.cases] == ["sub-02_run-1"]
    assert "files found: T1w 1, FLAIR 1, label map 2: expected one each, not" in problems["sub-01_ses-a"]
    assert "derivatives/second/" in problems["sub-01_ses-a"]
    assert problems["sub-01_ses-b"].endswith("files found: T1w 1, FLAIR 0, label map 1: expected one each")
    assert "files found: T1w 0, FLAIR 0, label map 1" in problems["sub-09"]
    narrowed, _ = find_bids_cases(bids, ["T1w"], "derivatives/manual/*_dseg.nii.gz")
    assert len(narrowed.cases) == 3


def test_folders_may_be_links_and_files_unpacked(bids, tmp_path):
    for number, name in enumerate(("sub-01/ses-a/anat", "derivatives/manual/sub-02", "derivatives")):
        (bids / name).rename(tmp_path / str(number))
        (bids / name).symlink_to(tmp_path / str(number))
    (bids / "sub-01" / "again").symlink_to(bids)  # a loop
    path = next((bids / "derivatives" / "manual" / "sub-02").rglob("*_dseg.nii.gz"))
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    dataset, problems = find_bids_cases(bids, ["T1w", "FLAIR"], LABELS)
    assert (len(dataset.cases), problems) == (3, {})
    assert dataset.labels.names == ("left", "label 5")


def test_the_table_is_that_of_the_label_map(bids):
    manual = bids / "derivatives" / "manual"
    (manual / "dseg.tsv").write_text("index\tname\n1\tof all\n")
    (manual / "desc-tissue_dseg.tsv").write_text("index\tname\n1\tgrey\n")
    (manual / "sub-01_desc-expert_dseg.tsv").write_text("index\tname\n5\tof one\n")
    (manual / "desc-expert_dseg.tsv").write_text('index\tname\tcolor\n1.0\ta "quoted\tx\nn/a\tn/a\tx\n')
    assert find_bids_cases(bids, ["T1w"], LABELS)[0].labels.names == ('a "quoted', "of one")


def test_a_class_cannot_have_the_name_of_an_integer_without_one(bids):
    (bids / "derivatives" / "manual" / "desc-expert_dseg.tsv").write_text("index\tname\n1\tlabel 5\n")
    with pytest.raises(DataError, match="several integers of the label maps are called label 5"):
        find_bids_cases(bids, ["T1w"], LABELS)


def test_what_cannot_be_trained_on_is_refused(bids):
    with pytest.raises(DataError, match=r"is a BIDS dataset: name the suffixes of its scans: --data.bids_suffixes"):
        find_dataset(DataConfig(root=str(bids)))
    with pytest.raises(DataError, match="sub-01_ses-a: files found: T2w 0, label map 1: expected one each"):
        find_bids_cases(bids, ["T2w"], LABELS)
    for pattern in ("/home/*_dseg.nii.gz", "", "**_probseg.nii.gz", "."):
        with pytest.raises(DataError, match="no scan T1w has a label map"):
            find_bids_cases(bids, ["T1w"], pattern)
    own = bids / "derivatives" / "manual" / f"{SCANS[2]}_space-orig_desc-expert_dseg.tsv"
    own.write_text("index\tname\n1\tright\n")
    with pytest.raises(DataError, match="1 is right, elsewhere left"):
        find_bids_cases(bids, ["T1w"], LABELS)
    own.write_text("index\tname\n0\tanother word for nothing\n1\tleft\n")
    assert find_bids_cases(bids, ["T1w"], LABELS)[0].labels.names == ("left", "label 5")
    own.write_text("index\tname\n1\tleft\n5\tleft\n")
    with pytest.raises(DataError, match="several integers of the label maps are called left"):
        find_bids_cases(bids, ["T1w"], LABELS)
    own.write_text("index\tname\n1\tleft\n5\t(foreground)\n")
    with pytest.raises(DataError, match=r"a class is called \(foreground\): this name is reserved"):
        find_bids_cases(bids, ["T1w"], LABELS)
    own.write_text("index\tname\n1.5\tleft\n")
    with pytest.raises(DataError, match=r"index is 1\.5"):
        find_bids_cases(bids, ["T1w"], LABELS)
    with pytest.raises(ConfigError, match="expected each suffix once"):
        find_bids_cases(bids, ["T1w", "T1w"], LABELS)
    own.write_text("index,name\n1,left\n")
    with pytest.raises(DataError, match="not a table of classes"):
        find_bids_cases(bids, ["T1w"], LABELS)


def test_a_bids_dataset_is_inspected_and_trained_on(bids, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--data.root", str(bids), "--data.bids_suffixes", "[T1w]", "--data.folds", "2", "--training.steps", "2"]
    assert main(["inspect", *options]) == 0
    assert main(["train", *options, "--run", "run"]) == 0
    split = json.loads((tmp_path / "run" / "splits.json").read_text())
    subjects = (tmp_path / "run" / "subjects.csv").read_text().split()
    assert subjects == ["case,subject", "sub-01_ses-a,sub-01", "sub-01_ses-b,sub-01", "sub-02_run-1,sub-02"]
    persons = [{case[:6] for case in split[part]} for part in ("training", "validation")]
    assert persons[0].isdisjoint(persons[1])
    call = ["predict", "-i", str(bids), "-o", "masks", "-m", "run", "--bids-suffix", "T1w", "--held-out-of", "run"]
    assert main(call) == 0
    masks = [path.name for path in (tmp_path / "masks").rglob("*_dseg.nii.gz")]
    assert sorted(name.partition("_space")[0] for name in masks) == sorted(split["validation"])
    one = split["validation"][0]
    assert main([*call, "--participant", one[4:6], "--overwrite", "-o", "of-one"]) == 0
    of_one = {path.name[:6] for path in (tmp_path / "of-one").rglob("*_dseg.nii.gz")}
    assert of_one == {one[:6]}
    assert main([*call[:-4], "--bids-suffix", "FLAIR", "-o", "other"]) == 0
    assert "warning: --bids-suffix is FLAIR: the model was trained on T1w" in capsys.readouterr().err
    manual = ["-r", str(bids / "derivatives" / "manual"), "--held-out-of", "run"]
    assert main(["evaluate", "-p", "masks", *manual, "-o", "evaluation"]) == 0
    assert main(["report", "run"]) == 0


@pytest.mark.parametrize("described", [{"annotated": {}}, {"labels": {"background": 0, "a": 1, "ignore": 5}}])
def test_incomplete_annotations_are_refused(bids, described):
    """They are not read from BIDS datasets: unseen, they would be learned as background."""
    (bids / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"dataset\.json: 'annotated' and 'ignore' are not read from BIDS"):
        find_bids_cases(bids, ["T1w"], LABELS)
