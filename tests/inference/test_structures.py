"""What is measured of predicted structures, counted by hand."""

import json

import numpy as np
import pytest

from attention_unet.errors import ConfigError
from attention_unet.inference.predict_folder import predict_folder
from attention_unet.inference.predict_tree import predict_tree
from attention_unet.inference.structures import describe_structures
from attention_unet.scans.label_table import COLOURS
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import volume_of_array
from tests.conftest import read_csv
from tests.inference.build import model_of, scan

SCAN = volume_of_array(np.arange(60, dtype=np.float32).reshape(5, 4, 3), np.diag([10.0, 10.0, 5.0, 1.0]))
OF_SCAN = SCAN.array[0], SCAN.voxel_ml


def test_structures_of_a_label_map():
    label_map = np.zeros(SCAN.grid, np.uint8)
    label_map[1, 1, 1] = label_map[2, 2, 2] = 4  # they touch at a corner: voxels 16 and 32
    label_map[1, 1, 0] = 9  # voxel 15
    label_map[3, 3, 0] = 7  # voxel 45; alone
    labels = Labels({"left & right": (4,), "two": (7, 9), "none": (11,)}, (4, 7, 11))
    names = ("name", "colour", "volume_ml", "mean", "sd", "components", "touches_edge", "expected_dice")
    expected = {
        "4": ("left & right", COLOURS[0], 1.0, 24.0, 8.0, 1, True, 0.5),
        "7": ("two", COLOURS[1], 1.0, 30.0, 15.0, 2, True, 0.75),
        "11": ("none", COLOURS[2], 0.0, None, None, 0, False, None),
    }
    found = describe_structures(label_map, labels, *OF_SCAN, np.array([0.5, 0.75, np.nan]))["labels"]
    assert found == {label: dict(zip(names, values, strict=True)) for label, values in expected.items()}
    label_map[2, 2, 2] = 0
    found = describe_structures(label_map, labels, *OF_SCAN, np.array([0.5, 0.75, np.nan]))["labels"]
    assert not found["4"]["touches_edge"]


def test_volumes_of_a_mouse_keep_their_digits():
    label_map = np.zeros(SCAN.grid, np.uint8)
    label_map[1, 1, 1] = 1
    found = describe_structures(label_map, Labels({"a": (1,)}, (1,)), None, 1.25e-7, np.array([np.nan]))
    assert found["labels"]["1"]["volume_ml"] == 1.25e-7


def test_overlapping_classes_share_voxels():
    label_map = np.zeros(SCAN.grid, np.uint8)
    label_map[0, 0] = [1, 2, 2]
    regions = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))
    found = describe_structures(label_map, regions, *OF_SCAN, np.ones(2))["labels"]
    assert {each["name"]: each["volume_ml"] for each in found.values()} == {"whole": 1.5, "core": 1.0}
    # Only the core was found.
    found = describe_structures(label_map, regions, *OF_SCAN, np.array([np.nan, 0.5]))["labels"]
    assert [each["expected_dice"] for each in found.values()] == [None, 0.5]


def test_a_missing_first_channel_has_no_signal():
    label_map = np.ones(SCAN.grid, np.uint8)
    found = describe_structures(label_map, Labels({"a": (1,)}, (1,)), None, SCAN.voxel_ml, np.ones(1))["labels"]["1"]
    assert (found["mean"], found["sd"], found["volume_ml"], found["components"]) == (None, None, 30.0, 1)


def rows(folder):
    return [(row["case"], row["class"], row["volume_ml"]) for row in read_csv(folder / "volumes.csv")]


def test_the_table_of_a_folder_and_of_a_tree(tmp_path):
    for name in ("a.nii.gz", "deeper/b.nii.gz", "deeper/c.nii.gz"):
        scan(tmp_path / "in", np.eye(4), name)
    output = tmp_path / "out"
    predict_tree([model_of()], tmp_path / "in", output)
    of_tree = rows(output)
    assert [row[:2] for row in of_tree] == [
        (case, name) for case in ("a", "deeper/b", "deeper/c") for name in ("bright", "dark")
    ]
    described = json.loads((output / "deeper" / "b_labels.json").read_text())["labels"]
    assert [float(row[2]) for row in of_tree[2:4]] == [each["volume_ml"] for each in described.values()]
    scan(tmp_path / "in", np.eye(4), "deeper/d.nii.gz")
    predict_folder([model_of()], tmp_path / "in" / "deeper", output / "deeper", resume=True)
    assert [row[0] for row in rows(output / "deeper")] == ["b", "b", "c", "c", "d", "d"]


def test_names_of_bids_have_participant_and_session_beside_them(tmp_path):
    for name in ("sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", "sub-02/sub-02_T1w.nii.gz", "sub-03.nii.gz"):
        scan(tmp_path / "in", np.eye(4), name)
    predict_tree([model_of()], tmp_path / "in", tmp_path / "out")
    found = {(row["participant_id"], row["session_id"]) for row in read_csv(tmp_path / "out" / "volumes.csv")}
    assert found == {("sub-01", "ses-a"), ("sub-02", ""), ("", "")}


def test_a_table_of_other_origin_is_not_replaced(tmp_path):
    scan(tmp_path / "in", np.eye(4), "a.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "volumes.csv").write_text("my,own\n")
    for predict in (predict_folder, predict_tree):
        with pytest.raises(ConfigError, match=r"volumes\.csv: not a file of this program, but would be replaced"):
            predict([model_of()], tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "volumes.csv").read_text() == "my,own\n"


def test_a_damaged_description_is_left_out(tmp_path, caplog):
    for name in "abc":
        scan(tmp_path / "in", np.eye(4), f"{name}.nii.gz")
    predict_folder([model_of()], tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "a_labels.json").write_text('{"labels": {"3": {}}}')
    unsure = json.loads((tmp_path / "out" / "c_labels.json").read_text())
    unsure["labels"]["3"]["expected_dice"] = None  # another class is painted over all of it
    (tmp_path / "out" / "c_labels.json").write_text(json.dumps(unsure))
    scan(tmp_path / "in", np.eye(4), "d.nii.gz")
    predict_folder([model_of()], tmp_path / "in", tmp_path / "out", resume=True)
    assert "a_labels.json: lacks 'name': predict this case again" in caplog.text
    assert [row[0] for row in rows(tmp_path / "out")[:2]] == ["c", "c"]  # to be looked at first
    assert {row[0] for row in rows(tmp_path / "out")} == {"b", "c", "d"}
