import json

import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.dataset.description import (
    describe_channels,
    describe_labels,
    describe_unannotated,
    find_labels_in_files,
)
from attention_unet.dataset.reading import check_segments
from attention_unet.errors import DataError
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import read_labels, read_volume, write_like
from tests.conftest import save_nifti


def described(root, **content):
    """Write a description, and return its file."""
    file = root / "dataset.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_channels(tmp_path, caplog):
    assert describe_channels(described(tmp_path, channel_names={"1": "ADC", "0": "T2"})) == ("T2", "ADC")
    assert describe_channels(described(tmp_path, labels={"a": 1})) == ()
    assert describe_channels(described(tmp_path, channel_names={"0": "noNorm", "1": "CT"})) == ("noNorm", "CT")
    assert caplog.messages == [
        f"{tmp_path / 'dataset.json'}: CT, noNorm: only names here: each scan gets mean 0 and standard deviation 1"
    ]
    with pytest.raises(DataError, match="channels are called MRI, MRI: expected different names; rename them in"):
        describe_channels(described(tmp_path, channel_names={"0": "MRI", "1": "MRI"}))
    with pytest.raises(DataError, match=r"channels are \['T1'\]: expected an object"):
        describe_channels(described(tmp_path, modality=["T1"]))


def test_nnunet_regions_overlap(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    found = describe_labels(described(tmp_path, labels=labels, regions_class_order=[1, 2]))
    assert found.overlapping
    assert found.painted == (1, 2)
    with pytest.raises(DataError, match="expected regions_class_order"):
        describe_labels(described(tmp_path, labels=labels))


def test_an_integer_listed_twice_counts_once(tmp_path):
    found = describe_labels(described(tmp_path, labels={"background": 0, "a": [1, 1, 2]}))
    assert found.integers == {"a": (1, 2)}


def test_an_order_of_regions_is_for_regions_only(tmp_path):
    """nnU-Net leaves it out where each class has one integer."""
    file = described(tmp_path, labels={"background": 0, "a": 1, "b": 2}, regions_class_order=[2, 1])
    assert describe_labels(file).painted == (1, 2)


@pytest.mark.parametrize("order", [[0, 2], [2, 1], [2, 2], [1, 3]])
def test_an_order_that_paints_a_class_as_another_is_refused(tmp_path, order):
    file = described(tmp_path, labels={"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=order)
    with pytest.raises(DataError, match="expected one of the integers of this class, another for each class"):
        describe_labels(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": {"1": "a", "2": "a"}}, "'a' is there twice"),
        ({"labels": {"a": 2**32}}, "4294967296 is not from 0 to"),
        ({"labels": {"a": 1, "ignore": 1}}, "'ignore' needs an integer of its own"),
        ({"labels": {"a": 1, "ignore": [2, 3]}}, "'ignore' needs an integer of its own"),
        ({"labels": {"a": 1, "ignore": 0}}, "'ignore' needs an integer of its own, above 0"),
        ({"labels": {"a": 1, "Ignore": 2}}, "a class is called 'Ignore': write 'ignore'"),
        ({"labels": {"ignore": 2}}, "labels name no class"),
        ({"labels": {f"c{i}": i for i in range(1, 300)}}, "has 299 classes: expected label maps of at most 254"),
        ({"labels": ["a"]}, "labels do not map names to integers"),
        ({"labels": {"a": 1.7}}, r"labels do not map names to integers \(1\.7 is not an integer\)"),
        ({"labels": {"a": True}}, r"labels do not map names to integers \(True is not an integer\)"),
        ({"labels": {"a": -1}}, r"labels do not map names to integers \(-1 is not from 0 to"),
        ({"labels": {"a": []}}, r"labels do not map names to integers \('a' has no integer\)"),
        ({"labels": {"a": 1, "b": 1}}, "classes overlap: expected regions_class_order, one integer per class"),
        ({"labels": {"a": [1, 2.0]}}, r"labels do not map names to integers \(2\.0 is not an integer\)"),
    ],
)
def test_wrong_labels(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        describe_labels(described(tmp_path, **content))


@pytest.mark.parametrize(
    "labels", [{"background": 0, "a": 1, "ignore": 2}, {"0": "background", "1": "a", "2": "ignore"}]
)
def test_a_label_to_ignore_is_no_class(tmp_path, labels):
    found = describe_labels(described(tmp_path, labels=labels))
    assert found == Labels({"a": (1,)}, (1,))
    assert found.ignore == 2
    assert Labels.from_json(json.loads(json.dumps(found.to_json()))).ignore == 2
    assert found.unknown(np.array([0, 1, 2, 3])) == [3]


def test_a_label_to_ignore_beside_regions(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    found = describe_labels(described(tmp_path, labels=labels, regions_class_order=[1, 2]))
    assert (found.names, found.painted, found.ignore) == (("whole", "core"), (1, 2), 3)


def test_classes_that_a_case_does_not_annotate(tmp_path):
    assert describe_unannotated(tmp_path / "dataset.json", ["a", "b"]) == {}
    file = described(tmp_path, annotated={"one": ["b"], "two": ["a", "b"], "three": []})
    assert describe_unannotated(file, ["a", "b"]) == {"one": ("a",), "two": (), "three": ("a", "b")}


@pytest.mark.parametrize(
    ("annotated", "message"),
    [
        (["a"], r"annotated is \['a'\]: expected lists of classes by case"),
        ({"one": "a"}, "expected lists of classes by case"),
        ({"one": [1]}, "expected lists of classes by case"),
        ({"one": ["c"]}, "annotated names c: no such class; expected a, b"),
    ],
)
def test_wrong_lists_of_annotated_classes(tmp_path, annotated, message):
    with pytest.raises(DataError, match=message):
        describe_unannotated(described(tmp_path, annotated=annotated), ["a", "b"])


def test_scans_in_place_of_label_maps(tmp_path):
    scan = save_nifti(tmp_path / "labels" / "a.nii.gz", np.arange(1000, dtype=np.int16).reshape(10, 10, 10))
    with pytest.raises(DataError, match="labels: has 999 classes: expected label maps of at most 254"):
        find_labels_in_files({"a": scan}, {})


def test_without_any_label_map_only_the_problems_are_told():
    with pytest.raises(DataError, match=r"^a: has no label map$"):
        find_labels_in_files({}, {"a": "a: has no label map"})
    with pytest.raises(DataError, match=r"^no label map has a class: expected integers above 0$"):
        find_labels_in_files({}, {})


def test_a_label_map_that_cannot_be_read_is_told_and_left_out(tmp_path):
    good = save_nifti(tmp_path / "good.nii.gz", np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    problems = {}
    labels = find_labels_in_files({"bad": tmp_path / "bad.nii.gz", "good": good}, problems)
    assert labels.painted == (1, 2, 3, 4, 5, 6, 7)
    assert set(problems) == {"bad"}


def test_segments_of_slicer_have_the_integers_of_their_classes(tmp_path):
    """3D Slicer numbers the segments of each file anew."""
    scan = read_volume(save_nifti(tmp_path / "p.nii.gz", np.zeros((4, 4, 4), np.float32)))
    array = np.zeros((4, 4, 4), np.uint8)
    array[1], array[2] = 1, 2
    classes = Labels({"Liver": (1,), "Tumour": (2,), "Cyst": (3,)}, (1, 2, 3))
    right, wrong = tmp_path / "right.seg.nrrd", tmp_path / "wrong.seg.nrrd"
    write_like(right, array, scan, Labels({"Liver": (1,), "Tumour": (2,)}, (1, 2)))
    write_like(wrong, array, scan, Labels({"Liver": (1,), "Cyst": (2,)}, (1, 2)))
    check_segments(read_labels(right), classes)
    with pytest.raises(DataError, match=r"wrong\.seg\.nrrd: segments have other integers .*\(2 is Cyst, expected 3\)"):
        check_segments(read_labels(wrong), classes)
    with pytest.raises(DataError, match=r"\(2 is Cyst, expected 3\)"):
        check_segments(read_labels(wrong), Labels({"liver": (1,), "tumour": (2,), "cyst": (3,)}, (1, 2, 3)))
    both = Labels({"Cyst": (2,), "cyst": (3,)}, (2, 3))
    check_segments(read_labels(wrong), both)
    with pytest.raises(DataError, match="integers have several names of segments \\(2 is cyst and tumour\\)"):
        find_labels_in_files({"a": right, "b": wrong}, {})
    layers = sitk.Compose([sitk.GetImageFromArray(array)] * 2)  # as ITK reads the layers of 3D Slicer
    sitk.WriteImage(layers, str(tmp_path / "layers.seg.nrrd"))
    with pytest.raises(DataError, match="stores them in layers; export them into one label map"):
        read_labels(tmp_path / "layers.seg.nrrd")
