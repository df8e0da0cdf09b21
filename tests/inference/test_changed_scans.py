"""Predict again into a folder whose scans have changed, are gone or cannot be read."""

import os

import numpy as np
import pytest

from attention_unet.files.prediction_record import read_record
from attention_unet.inference import output_folder
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.settings import Settings
from tests.inference.build import claim, model_of, scan, scans


def test_a_scan_that_has_changed_is_predicted_again(tmp_path, caplog):
    folder, cases, output = scans(tmp_path, "a", "b")
    claim(folder, cases)
    assert predict_files(cases, output, [model_of()], Settings(), lambda share: None) == {}
    assert claim(folder, cases, resume=True) == []
    scan(folder, np.eye(4), "b.nii.gz", seed=1)
    assert claim(folder, cases, resume=True) == cases[1:]
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "b: the scan has changed since it was predicted: predicted again"
    ]
    assert [path.name for path in output.glob("*.nii.gz")] == ["a.nii.gz"]


def test_a_scan_is_read_again_only_if_its_file_may_have_changed(tmp_path, monkeypatch):
    folder, cases, output = scans(tmp_path, "a")
    file = folder / "a.nii.gz"
    assert predict_files(claim(folder, cases), output, [model_of()], Settings(), lambda share: None) == {}
    hashed, original = [], output_folder.hash_images
    monkeypatch.setattr(output_folder, "hash_images", lambda case: hashed.append(case.id) or original(case))
    assert (claim(folder, cases, resume=True), hashed) == ([], [])
    times, content = file.stat(), file.read_bytes()
    file.touch()
    assert (claim(folder, cases, resume=True), hashed) == ([], ["a"])
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # as many bytes, with the times of before
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (claim(folder, cases, resume=True), hashed) == (cases, ["a", "a"])


def test_a_scan_that_is_gone_is_no_failure_any_more(tmp_path):
    folder, cases, output = scans(tmp_path, "a", "b")
    (folder / "b.nii.gz").write_bytes(b"cut")
    left = claim(folder, cases)
    assert list(predict_files(left, output, [model_of()], Settings(), lambda share: None)) == ["b"]
    (folder / "b.nii.gz").unlink()
    claim(folder, find_inputs(folder, 1), resume=True)
    assert read_record(output)["failed"] == {}


@pytest.mark.parametrize("link", [True, False])
def test_masks_of_scans_that_are_not_here_stay(tmp_path, caplog, link):
    """As after ``datalad drop``: links to nothing, or pointers. One line tells of all of them."""
    folder, cases, output = scans(tmp_path, "a", "b", "c")
    assert predict_files(claim(folder, cases), output, [model_of()], Settings(), lambda share: None) == {}
    for name in ("b.nii.gz", "c.nii.gz"):
        file = folder / name
        file.unlink()
        if link:
            file.symlink_to(f"../.git/annex/objects/{name}")
        else:
            file.write_text(f"/annex/objects/MD5E-s1--{name}\n")
    assert claim(folder, find_inputs(folder, 1), resume=True) == []
    assert {"b.nii.gz", "c.nii.gz"} <= {file.name for file in output.iterdir()}
    kept = [message for message in caplog.messages if "is kept" in message]
    assert kept == ["b, c: the scan is not here, or cannot be read: the prediction is kept"]
