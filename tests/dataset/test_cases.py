import json

import numpy as np
import pytest

from attention_unet.config import DataConfig
from attention_unet.dataset.cases import find_readable_cases, locate_dataset
from attention_unet.dataset.channel_files import group_channels
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.errors import ConfigError, DataError
from tests.conftest import save_nifti

VOLUME = np.zeros((3, 3, 3), dtype=np.float32)
LABEL = (np.arange(27).reshape(3, 3, 3) % 3).astype(np.uint8)


def write(folder, names, array):
    return [save_nifti(folder / f"{name}.nii.gz", array) for name in names]


def describe(root, **content):
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def decathlon(root, ids=("b", "a"), **more):
    write(root / "imagesTr", ids, VOLUME)
    write(root / "labelsTr", ids, LABEL)
    training = [{"image": f"./imagesTr/{i}.nii.gz", "label": f"./labelsTr/{i}.nii.gz"} for i in ids]
    describe(root, training=training, modality={"0": "T1"}, labels={"0": "background", "1": "x", "2": "y"}, **more)
    return root


def test_decathlon(tmp_path):
    dataset = find_dataset(DataConfig(root=str(decathlon(tmp_path))))
    assert [case.id for case in dataset.cases] == ["a", "b"]
    assert dataset.channels == ("T1",)
    assert dataset.labels.integers == {"x": (1,), "y": (2,)}


def test_nnunet_raw_with_a_file_a_channel(tmp_path):
    write(tmp_path / "imagesTr", ["p_0000", "p_0001", "q_0000", "q_0001"], VOLUME)
    write(tmp_path / "labelsTr", ["p", "q"], LABEL)
    describe(tmp_path, channel_names={"0": "T2", "1": "ADC"}, labels={"background": 0, "zone": 2})
    dataset = find_dataset(DataConfig(root=str(tmp_path)))
    assert [(case.id, [p.name for p in case.images]) for case in dataset.cases] == [
        ("p", ["p_0000.nii.gz", "p_0001.nii.gz"]),
        ("q", ["q_0000.nii.gz", "q_0001.nii.gz"]),
    ]
    assert dataset.channels == ("T2", "ADC")
    assert dataset.labels.integers == {"zone": (2,)}
    described = {"channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0, "zone": 2}}
    describe(tmp_path, **described, numTraining=2)
    assert len(find_dataset(DataConfig(root=str(tmp_path))).cases) == 2
    describe(tmp_path, **described, numTraining=5)
    with pytest.raises(DataError, match=r"numTraining is 5, but 2 cases are there: is it half copied\?"):
        find_dataset(DataConfig(root=str(tmp_path)))
    describe(tmp_path, **described, numTraining=3)
    write(tmp_path / "labelsTr", ["r"], LABEL)
    write(tmp_path / "imagesTr", ["r_1_0000", "r_1_0001"], VOLUME)  # misnamed
    with pytest.raises(DataError, match="r_1"):
        find_dataset(DataConfig(root=str(tmp_path)))


def test_a_channel_too_many_is_a_fault_of_its_case_alone(tmp_path):
    write(tmp_path / "imagesTr", ["p_0000", "p_0001", "p_0002", "q_0000", "q_0001", "s_0000"], VOLUME)
    write(tmp_path / "labelsTr", ["p", "q", "r", "s"], LABEL)
    describe(tmp_path, channel_names={"0": "T2", "1": "ADC"}, labels={"zone": 2})
    dataset, problems = find_readable_cases(tmp_path)
    assert [case.id for case in dataset.cases] == ["q"]
    assert "p_0002.nii.gz: dataset.json names 2 channels: remove it, or name its channel" in problems["p"]
    assert f"put it at {tmp_path / 'imagesTr' / 'r_0000.nii.gz'}" in problems["r"]
    assert "s_0001.nii.gz: missing: put it there or remove its other files" in problems["s"]


def test_pictures_are_no_volumes(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.png").write_bytes(b"a picture")
    describe(tmp_path, channel_names={"0": "R"}, labels={"zone": 2}, numTraining=1, file_ending=".png")
    with pytest.raises(
        DataError, match=r"imagesTr: holds no volume \(\.nii\.gz, .*2-D images such as PNG are not read"
    ):
        find_dataset(DataConfig(root=str(tmp_path)))


def test_nnunet_1_lists_images_without_their_channels(tmp_path):
    root = decathlon(tmp_path)
    for image in (root / "imagesTr").iterdir():
        image.rename(image.with_name(image.name.replace(".nii.gz", "_0000.nii.gz")))
    dataset = find_dataset(DataConfig(root=str(root)))
    assert [(case.id, case.images[0].name) for case in dataset.cases] == [
        ("a", "a_0000.nii.gz"),
        ("b", "b_0000.nii.gz"),
    ]
    write(root / "imagesTr", ["c_0000", "d_0000"], VOLUME)  # left out of the list
    write(root / "labelsTr", ["c"], LABEL)
    assert [case.id for case in find_dataset(DataConfig(root=str(root))).cases] == ["a", "b"]
    (root / "imagesTr" / "b_0000.nii.gz").unlink()
    with pytest.raises(DataError, match=r"b\.nii\.gz: missing: put it there or remove the case from the list"):
        find_dataset(DataConfig(root=str(root)))
    (root / "imagesTr" / "b.nii.gz").mkdir()
    with pytest.raises(DataError, match=r"b\.nii\.gz: is a folder: training reads no DICOM; convert it"):
        find_dataset(DataConfig(root=str(root)))


def test_plain_folders_take_their_classes_from_the_files(tmp_path):
    write(tmp_path / "images", ["one", "two"], VOLUME)
    write(tmp_path / "labels", ["one", "two"], LABEL)
    (tmp_path / "images" / "._one.nii.gz").write_bytes(b"left by a Mac")
    dataset = find_dataset(DataConfig(root=str(tmp_path)))
    assert [case.id for case in dataset.cases] == ["one", "two"]
    assert dataset.labels.integers == {"label 1": (1,), "label 2": (2,)}


def test_four_digits_of_a_case_name_are_no_channel(tmp_path):
    names = ["sub_0000", "sub_0001", "sub_0002"]
    write(tmp_path / "images", names, VOLUME)
    write(tmp_path / "labels", names, LABEL)
    assert [case.id for case in find_dataset(DataConfig(root=str(tmp_path))).cases] == names
    assert set(group_channels(write(tmp_path / "more", ["a_0000", "a_0001"], VOLUME), channels=1)) == {
        "a_0000",
        "a_0001",
    }
    assert set(group_channels(write(tmp_path / "more", ["a_0000", "b_0000"], VOLUME), channels=1)) == {"a", "b"}


def test_a_year_at_the_end_of_a_name_is_no_channel(tmp_path):
    write(tmp_path / "images", ["anna_2021", "otto"], VOLUME)
    write(tmp_path / "labels", ["anna", "otto"], LABEL)
    _, problems = find_readable_cases(tmp_path)
    assert sorted(problems) == ["anna", "anna_2021"]
    (tmp_path / "images" / "otto.nii.gz").unlink()
    (tmp_path / "labels" / "otto.nii.gz").unlink()
    with pytest.raises(DataError, match=r"anna_2021\.nii\.gz: has no label") as caught:
        find_readable_cases(tmp_path)
    assert len(str(caught.value)) < 1000


def test_a_file_that_belongs_to_no_case_spoils_no_other(tmp_path):
    write(tmp_path / "images", ["a_0000", "a_0001", "b_0000", "b_0001", "extra"], VOLUME)
    write(tmp_path / "labels", ["a", "b"], LABEL)
    dataset, problems = find_readable_cases(tmp_path)
    assert [(case.id, len(case.images)) for case in dataset.cases] == [("a", 2), ("b", 2)]
    assert list(problems) == ["extra"]


def test_absolute_paths_inside_a_relative_dataset(tmp_path, monkeypatch):
    decathlon(tmp_path / "a")
    described = json.loads((tmp_path / "a" / "dataset.json").read_text())
    for entry in described["training"]:
        entry["image"] = str(tmp_path / "a" / entry["image"])
    (tmp_path / "a" / "dataset.json").write_text(json.dumps(described))
    monkeypatch.chdir(tmp_path)
    assert find_dataset(DataConfig(root="a")).cases[0].images[0].exists()


def test_a_4d_file_of_the_plain_layout_has_its_channels(tmp_path):
    write(tmp_path / "images", ["one"], np.stack([VOLUME, VOLUME], axis=-1))
    write(tmp_path / "labels", ["one"], LABEL)
    assert find_dataset(DataConfig(root=str(tmp_path))).channels == ("channel 0", "channel 1")


def test_a_file_without_suffix_does_not_part_the_channels_of_other_scans(tmp_path):
    """Otherwise a model of T1 and FLAIR that may miss FLAIR would take the FLAIR of a scan for the T1 of another."""
    files = write(tmp_path, ["a", "b_0000", "b_0001"], VOLUME)
    found = group_channels(files, channels=2)
    assert {case: [path.name for path in paths] for case, paths in found.items()} == {
        "a": ["a.nii.gz"],
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
    }
    for names in (["x", "BRATS_0001", "BRATS_0002"], ["x", "y_0000"]):  # files of four axes
        files = write(tmp_path / names[1], names, VOLUME)
        assert set(group_channels(files, channels=3)) == set(names)


def test_a_missing_channel_file_spoils_its_own_case_only(tmp_path):
    files = write(tmp_path, ["a_0000", "a_0001", "b_0001"], VOLUME)
    assert [path.name for path in group_channels(files, channels=2)["b"]] == ["b_0000.nii.gz", "b_0001.nii.gz"]
    assert set(group_channels(files, channels=2)) == {"a", "b"}


def test_everything_that_is_missing_is_listed_at_once(tmp_path):
    root = decathlon(tmp_path)
    (root / "imagesTr" / "a.nii.gz").unlink()
    (root / "labelsTr" / "b.nii.gz").unlink()
    with pytest.raises(DataError, match=r"(?s)labelsTr/b\.nii\.gz: missing.*imagesTr/a\.nii\.gz: missing"):
        find_dataset(DataConfig(root=str(root)))


def test_unpaired_files(tmp_path):
    write(tmp_path / "images", ["one", "two"], VOLUME)
    write(tmp_path / "labels", ["one", "three"], LABEL)
    with pytest.raises(DataError, match=r"(?s)two\.nii\.gz: has no label.*three\.nii\.gz: has no image"):
        find_dataset(DataConfig(root=str(tmp_path)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"training": ["a.nii.gz"], "labels": {"a": 1}}, "expected an object of image and label"),
        ({"training": 3, "labels": {"a": 1}}, "training is 3: expected a list"),
        ({"training": [], "labels": {"a": 1}}, "holds no labelled case"),
    ],
)
def test_wrong_descriptions(tmp_path, content, message):
    describe(tmp_path / "data", **content)
    with pytest.raises(DataError, match=message):
        find_dataset(DataConfig(root=str(tmp_path / "data")))


@pytest.mark.parametrize("folder", ["labels", "images"])
def test_the_same_file_in_two_formats_is_not_chosen_from(tmp_path, folder):
    write(tmp_path / "images", ["p_0000", "p_0001"], VOLUME)
    write(tmp_path / "labels", ["p"], LABEL)
    save_nifti(tmp_path / folder / ("p.nii" if folder == "labels" else "p_0001.nii"), LABEL)
    with pytest.raises(DataError, match=r"\.gz: the case exists twice, also as p.*\.nii: expected one file; keep one"):
        find_dataset(DataConfig(root=str(tmp_path)))


def test_a_lacking_channel_of_plain_folders_spoils_its_own_case_only(tmp_path):
    write(tmp_path / "images", [f"{case}_{channel:04d}" for case in "pqr" for channel in (0, 1)], VOLUME)
    write(tmp_path / "labels", "pqr", LABEL)
    (tmp_path / "images" / "q_0001.nii.gz").unlink()
    dataset, problems = find_readable_cases(tmp_path)
    assert [case.id for case in dataset.cases] == ["p", "r"]
    assert list(problems) == ["q"]
    assert "q_0001.nii.gz: missing" in problems["q"]


def test_a_case_with_and_without_the_suffix_of_a_channel_is_there_twice(tmp_path):
    paths = write(tmp_path, ["a", "a_0000", "b_0000"], VOLUME)
    with pytest.raises(DataError, match=r"a\.nii\.gz: the case exists twice, also with the suffix of a channel"):
        group_channels(paths, wanted=["a", "b"])


def test_cases_listed_twice(tmp_path):
    root = decathlon(tmp_path, ids=("a", "a"))
    with pytest.raises(DataError, match="listed twice: a"):
        find_dataset(DataConfig(root=str(root)))


def test_where_a_dataset_is_looked_for(tmp_path, monkeypatch):
    decathlon(tmp_path / "store" / "Task")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ATTENTION_UNET_DATA", raising=False)
    assert locate_dataset(str(tmp_path / "store"), "Task") == tmp_path / "store" / "Task"
    assert locate_dataset(str(tmp_path / "store" / "Task"), "Task") == tmp_path / "store" / "Task"
    monkeypatch.setenv("ATTENTION_UNET_DATA", str(tmp_path / "store"))
    assert locate_dataset(None, "Task") == tmp_path / "store" / "Task"
    monkeypatch.delenv("ATTENTION_UNET_DATA")
    with pytest.raises(ConfigError, match=r"data/Task: no dataset here.*--data\.root"):
        locate_dataset(None, "Task")
    with pytest.raises(ConfigError, match=r"store has Task: choose one by --data\.dataset"):
        locate_dataset(str(tmp_path / "store"), "")
    (tmp_path / "store" / "Damaged").mkdir()
    (tmp_path / "store" / "Damaged" / "dataset.json").write_text("{")
    with pytest.raises(ConfigError, match=r"Tsk: no dataset here.*store has Task: choose one"):
        locate_dataset(str(tmp_path / "store"), "Tsk")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "dataset.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"half: no dataset here: there is dataset\.json, but no folders of images"):
        locate_dataset(str(tmp_path), "half")
    (tmp_path / "store").rename(tmp_path / "data")
    assert locate_dataset(None, "Task").resolve() == tmp_path / "data" / "Task"


def test_a_description_that_was_not_fetched_is_no_absent_description(tmp_path):
    root = decathlon(tmp_path)
    (root / "dataset.json").unlink()
    (root / "dataset.json").symlink_to(".git/annex/objects/x")
    with pytest.raises(DataError, match=r"dataset\.json: is a link to \.git/annex/objects/x, which does not exist"):
        find_dataset(DataConfig(root=str(root)))


def test_folders_of_cases_in_the_folders_are_told(tmp_path, caplog):
    for folder in ("images", "labels"):
        write(tmp_path / folder / "site2", "c", LABEL)
    write(tmp_path / "images" / "notes", "d", LABEL)
    with pytest.raises(DataError, match=r"images: holds no volume .*, nor are folders in it"):
        find_dataset(DataConfig(root=str(tmp_path)))
    for folder in ("images", "labels"):
        write(tmp_path / folder, "ab", LABEL)
    caplog.clear()
    assert [case.id for case in find_dataset(DataConfig(root=str(tmp_path))).cases] == ["a", "b"]
    expected = f"{tmp_path / 'images'}: folders are not read: site2/: move their files, and those of the labels, up"
    assert expected in caplog.messages
