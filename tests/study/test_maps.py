"""Attention maps of a study, checked as by explain."""

import json
from unittest import mock

import pytest

from attention_unet.errors import ConfigError, DataError
from attention_unet.study.maps import check_maps, read_maps
from attention_unet.study.register import register
from attention_unet.study.report import write_study
from tests.study.build import copy_study


def test_maps_of_arms_with_attention_are_checked_once_and_shown(small, done, caplog):
    filled, registration = register(small, done)
    check_maps(filled, registration, done, 6)
    file = done / "maps" / "gate.json"
    assert list((done / "maps").iterdir()) == [file]
    found = read_maps(filled, registration, done)["gate"]
    assert len(found["cases"]) == 2
    assert {"as trained", "removed"} <= set(found["cases"][0]["dice"])
    with mock.patch("attention_unet.study.maps.explain_run", side_effect=AssertionError):
        check_maps(filled, registration, done, 6)
        with pytest.raises(AssertionError):
            check_maps(filled, registration, done, 7)
    write_study(filled, registration, done)
    assert json.dumps(found["sentences"][0])[1:-1] in (done / "study.html").read_text()
    file.write_text(json.dumps({**json.loads(file.read_text()), "arm_sha256": "of another arm"}))
    assert read_maps(filled, registration, done) == {}
    assert "left out, as the arm has changed since: repeat --maps" in caplog.text


def test_maps_of_trainings_that_are_not_finished_or_of_few_cases_are_refused(small, tmp_path):
    filled, registration = register(small, tmp_path)
    with pytest.raises(ConfigError, match="gate-all-seed0-fold0 is not finished: its maps cannot be checked"):
        check_maps(filled, registration, tmp_path, 6)
    with pytest.raises(ConfigError, match="--maps is 5: expected at least 6 cases"):
        check_maps(filled, registration, tmp_path, 5)


def test_a_training_of_another_machine_has_no_maps(small, done, tmp_path):
    copy_study(done, tmp_path)
    filled, registration = register(small, tmp_path)
    with pytest.raises(
        ConfigError, match=r"gate-all-seed0.fold0: is not there, .* remove .*cells.gate-all-seed0-fold0\.json"
    ):
        check_maps(filled, registration, tmp_path, 6)


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"arm_sha256": "", "asked": 6, "sentences": "text", "cases": []},
        {"arm_sha256": "", "asked": 6, "sentences": [], "cases": [{"dice": {"as trained": "high"}}]},
    ],
)
def test_a_damaged_file_is_named(small, tmp_path, plain):
    _, registration = register(small, tmp_path)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "gate.json").write_text(json.dumps(plain))
    with pytest.raises(DataError, match=r"gate\.json: .*remove it, and repeat --maps"):
        read_maps(small, registration, tmp_path)


def test_maps_of_a_training_that_was_repeated_are_left_out(small, done, tmp_path, caplog):
    check_maps(*register(small, done), done, 6)
    copy_study(done, tmp_path, "maps")
    filled, registration = register(small, tmp_path)
    assert list(read_maps(filled, registration, tmp_path)) == ["gate"]
    file = tmp_path / "maps" / "gate.json"
    written = json.loads(file.read_text())
    assert written["second_sha256"] == ""  # there is one seed
    for name in ("scores_sha256", "second_sha256"):
        file.write_text(json.dumps({**written, name: "of another training"}))
        assert read_maps(filled, registration, tmp_path) == {}
    assert "left out, as the training was repeated since: repeat --maps" in caplog.text


def test_cases_that_fail_are_told(small, done, tmp_path, caplog):
    check_maps(*register(small, done), done, 6)
    copy_study(done, tmp_path, "runs", "maps")
    filled, registration = register(small, tmp_path)
    failed = {"phantom_000": "phantom_000.nii.gz: is damaged"}
    found = json.loads(next(tmp_path.glob("runs/gate-all-seed0/fold0/held-out/explanation.json")).read_text())
    with mock.patch("attention_unet.study.maps.explain_run", return_value=(found, failed)):
        check_maps(filled, registration, tmp_path, 7)
    assert "gate: not checked: phantom_000.nii.gz: is damaged" in caplog.text
    with (
        mock.patch("attention_unet.study.maps.explain_run", return_value=({**found, "cases": []}, failed)),
        pytest.raises(ConfigError, match=r"no case could be checked: phantom_000\.nii\.gz: is damaged"),
    ):
        check_maps(filled, registration, tmp_path, 8)
