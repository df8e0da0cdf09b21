"""Predictions of scans that lack channels, with a network whose answer is known."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_channels
from attention_unet.errors import ConfigError, DataError
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.predict_folder import predict_folder
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from tests.conftest import save_nifti
from tests.inference.build import CPU, output, plan_of

CHANNELS = ("T1", "FLAIR", "T2")
GRID = (11, 9, 13)


class Sum(nn.Module):
    """Network that calls voxels bright where the sum of the channels is above 1."""

    def forward(self, x, full_output=False):
        total = x.sum(dim=1, keepdim=True)
        return output(full_output, torch.cat([torch.ones_like(total), 10 * (total - 1) + 1, total * 0 - 9], dim=1))


def model(may_miss=True):
    return Model(
        Sum(), dataclasses.replace(plan_of(channels=CHANNELS), channels_may_miss=may_miss), CPU, sha256="0" * 64
    )


def arrays():
    random = np.random.RandomState(0)
    return [random.normal(size=GRID).astype(np.float32) * 100 + 400 for _ in CHANNELS]


def expected(*there):
    total = sum((array - array.mean()) / array.std() for array in (arrays()[number] for number in there))
    return np.where(total > 1, 3, 0), np.abs(total - 1) > 1e-3


def check(label_map, *there):
    truth, clear = expected(*there)
    np.testing.assert_array_equal(np.asarray(label_map)[clear], truth[clear])


@pytest.fixture
def scans(tmp_path):
    """Return a folder with all channels of one case, and without the second of another."""
    for number, array in enumerate(arrays()):
        save_nifti(tmp_path / "scans" / f"whole_{number:04d}.nii.gz", array)
        if number != 1:
            save_nifti(tmp_path / "scans" / f"part_{number:04d}.nii.gz", array)
    return tmp_path / "scans"


def test_files_of_a_channel_may_be_absent(scans, tmp_path):
    cases = {case.id: case for case in find_inputs(scans, 3, may_miss=True)}
    assert (cases["part"].absent, cases["whole"].absent) == ((1,), ())
    assert [path.name for path in cases["part"].images] == ["part_0000.nii.gz", "part_0002.nii.gz"]
    assert predict_folder([model()], scans, tmp_path / "out") == {}
    record = json.loads((tmp_path / "out" / "run.json").read_text())["cases"]
    assert record["part"]["missing"] == ["FLAIR"]
    assert "missing" not in record["whole"]
    assert "there is no file of FLAIR: predicted without" in record["part"]["warnings"][0]
    for name, there in (("part", (0, 2)), ("whole", (0, 1, 2))):
        check(read_channels(Case(name, (tmp_path / "out" / f"{name}.nii.gz",))).array[0], *there)


def test_a_channel_that_is_a_link_to_nothing_is_not_taken_for_absent(scans, tmp_path):
    (scans / "part_0001.nii.gz").symlink_to(tmp_path / "not fetched")
    failed = predict_folder([model()], scans, tmp_path / "out")
    assert list(failed) == ["part"]
    assert "part_0001.nii.gz" in failed["part"]


def test_a_model_that_needs_all_channels_fails_on_that_case_alone(scans, tmp_path):
    failed = predict_folder([model(may_miss=False)], scans, tmp_path / "out")
    assert list(failed) == ["part"]
    assert "part_0001.nii.gz: missing: expected a file of each channel" in failed["part"]
    assert "augmentation.drop_channel" in failed["part"]


def test_channels_are_left_out_by_name(scans, tmp_path):
    settings = Settings(missing=("T2", "FLAIR"))
    assert predict_folder([model()], scans, tmp_path / "out", settings) == {}
    first = predict_folder([model()], scans, tmp_path / "without the first", Settings(missing=("T1",)))
    assert first == {}
    for folder, known in (("out", True), ("without the first", False)):  # intensity is that of the first channel
        table = json.loads((tmp_path / folder / "whole_labels.json").read_text())["labels"]
        assert any(each["mean"] is not None for each in table.values()) == known
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["missing"] == ["FLAIR", "T2"]
    assert predict_folder([model()], scans, tmp_path / "out", Settings(missing=("FLAIR", "T2")), resume=True) == {}
    assert record["cases"]["whole"]["missing"] == ["FLAIR", "T2"]
    check(read_channels(Case("whole", (tmp_path / "out" / "whole.nii.gz",))).array[0], 0)
    with pytest.raises(ConfigError, match="with another model or other options"):
        predict_folder([model()], scans, tmp_path / "out", Settings(missing=("T2",)), resume=True)


@pytest.mark.parametrize(("missing", "there"), [(("FLAIR",) * 2, (0, 2)), (("T1",), (1, 2)), (("T1", "T2"), (1,))])
def test_a_scan_may_hold_the_other_channels_only(missing, there):
    scan = np.stack([arrays()[number] for number in there])
    whole = np.stack(arrays())
    for array in (scan, whole):
        check(model().predict(array, Settings(missing=missing), spacing_mm=(1, 1, 1)).label_map.dataobj, *there)


@pytest.mark.parametrize(
    ("may_miss", "missing", "message"),
    [
        (True, ("PD",), "--missing is PD: expected one of the channels T1, FLAIR, T2"),
        (True, CHANNELS, "all channels are missing"),
        (False, ("T1",), "T1: missing, but the model was trained with all channels: .*augmentation.drop_channel"),
    ],
)
def test_what_cannot_be_left_out(may_miss, missing, message, scans, tmp_path):
    with pytest.raises(ConfigError, match=message):
        predict_folder([model(may_miss)], scans, tmp_path / "out", Settings(missing=missing))
    assert not (tmp_path / "out" / "run.json").exists()
    with pytest.raises(ConfigError, match=message):
        model(may_miss).predict(np.stack(arrays()), Settings(missing=missing), spacing_mm=(1, 1, 1))


def test_two_channels_are_no_guess_of_three():
    with pytest.raises(DataError, match=r"has 2 channels: the model was trained on 3 .* name those that it lacks"):
        model().predict(np.stack(arrays()[:2]), spacing_mm=(1, 1, 1))


def test_a_case_of_which_nothing_is_left_fails(scans, tmp_path):
    failed = predict_folder([model()], scans, tmp_path / "out", Settings(missing=("T1", "T2")))
    assert list(failed) == ["part"]
    assert "all channels are missing" in failed["part"]


def test_predict_volume_keeps_the_given_scan():
    from attention_unet.scans.volumes import volume_of_array

    volume = volume_of_array(np.stack(arrays()), np.eye(4))
    before = volume.array.copy()
    predict_volume([model()], volume, Settings(missing=("T1",)))
    np.testing.assert_array_equal(volume.array, before)


def test_python_tells_of_a_channel_without_a_file(scans):
    with pytest.warns(UserWarning, match=r"part_0000\.nii\.gz: there is no file of FLAIR: predicted without"):
        found = model().predict(scans / "part_0000.nii.gz")
    check(found.label_map.dataobj, 0, 2)
