"""Attention maps of a study, checked as by explain."""

import json
from unittest import mock

import pytest

from attention_unet.errors import ConfigError, DataError
from attention_unet.study.maps import check_maps, read_maps
from attention_unet.study.registration import register
from attention_unet.study.report import write_study


def test_maps_of_arms_with_attention_are_checked_once_and_shown(small, done):
    filled, registration = register(small, done)
    check_maps(filled, done, 2)
    assert [path.name for path in (done / "maps").iterdir()] == ["gate.json"]
    found = read_maps(filled, done)["gate"]
    assert len(found["cases"]) == 2
    assert {"as trained", "removed"} <= set(found["cases"][0]["dice"])
    with mock.patch("attention_unet.study.maps.explain_run", side_effect=AssertionError):
        check_maps(filled, done, 2)
    write_study(filled, registration, done)
    assert json.dumps(found["sentences"][0])[1:-1] in (done / "study.html").read_text()


def test_maps_of_trainings_that_are_not_finished_are_refused(small, tmp_path):
    filled, _ = register(small, tmp_path)
    with pytest.raises(ConfigError, match="none-all-seed0-fold0 is not finished: its maps cannot be checked"):
        check_maps(filled, tmp_path, 2)


def test_a_damaged_file_is_named(small, tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "gate.json").write_text("{}")
    with pytest.raises(DataError, match=r"gate\.json: .*remove it, and repeat --maps"):
        read_maps(small, tmp_path)
