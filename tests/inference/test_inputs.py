"""Which scans a path names."""

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.data.cases import Case
from attention_unet.errors import ConfigError
from attention_unet.inference.inputs import find_inputs
from tests.inference.build import scan

SLICE = bytes(128) + b"DICM"


def test_inputs(tmp_path):
    with pytest.raises(ConfigError, match="nothing: does not exist"):
        find_inputs(tmp_path / "nothing", 1)
    (tmp_path / "notes.txt").write_text("no scan")
    with pytest.raises(ConfigError, match="is no folder and no volume"):
        find_inputs(tmp_path / "notes.txt", 1)
    with pytest.raises(ConfigError, match="holds no volume"):
        find_inputs(tmp_path, 1)
    (tmp_path / "patient" / "study" / "T1").mkdir(parents=True)
    (tmp_path / "patient" / "study" / "T1" / "0.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ConfigError, match=r"holds no scan itself, but patient/study/: name one folder of scans"):
        find_inputs(tmp_path, 1)
    for name in ("p_0000", "p_0001"):
        scan(tmp_path, np.eye(4), f"{name}.nii.gz")
    assert find_inputs(tmp_path, 2) == [Case("p", (tmp_path / "p_0000.nii.gz", tmp_path / "p_0001.nii.gz"))]


def test_what_is_passed_over_is_told(tmp_path, caplog):
    scan(tmp_path, np.eye(4), "a.nii.gz")
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a"]
    assert caplog.messages == []
    (tmp_path / "series").mkdir()
    (tmp_path / "more" / "deeper").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    for path in ("series/0.dcm", "more/deeper/0.dcm", "slice.dcm"):
        (tmp_path / path).write_bytes(SLICE)
    for name in ("b.img", "b.hdr", "notes/readme.txt"):
        (tmp_path / name).write_text("x")
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a", "series"]
    assert caplog.messages == [f"warning: {tmp_path}: not predicted: its own DICOM files, b.hdr, b.img, more/"]


def test_mistakes(tmp_path, capsys):
    (tmp_path / "0.dcm").write_bytes(SLICE)
    with pytest.raises(ConfigError, match=r"0\.dcm: is one slice of a DICOM series: name the folder"):
        find_inputs(tmp_path / "0.dcm", 1)
    assert main(["predict", "-i", "a", "-i", "b", "-o", "c", "-m", "hippocampus"]) == 2
    assert "--input is given 2 times: name one scan, or a folder of them" in capsys.readouterr().err
