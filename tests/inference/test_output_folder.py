import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from attention_unet.errors import ConfigError, DataError
from attention_unet.files.atomic import PARTIAL, STALE_SECONDS
from attention_unet.files.digest import sha256_of
from attention_unet.files.prediction_folder import GRAD_CAM
from attention_unet.files.prediction_record import JOURNAL, read_record
from attention_unet.inference import predict_files as predict_module
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.record import describe_predictions, hash_files, hash_images, is_same, update_record
from attention_unet.inference.settings import Settings
from tests.inference.build import claim, model_of, scan, scans


def test_output_folder_is_claimed_before_any_work(tmp_path):
    folder, cases, _ = scans(tmp_path, "a", "b")
    with pytest.raises(ConfigError, match="holds the images"):
        claim(folder, cases, output=folder)
    with pytest.raises(ConfigError, match=r"holds the images, such as .*a.nii.gz: name another folder"):
        claim(folder, cases, output=tmp_path, overwrite=True)  # what earlier calls left there might be the images
    assert (folder / "a.nii.gz").exists()
    assert claim(folder, cases) == cases
    (tmp_path / "out" / "a.nii.gz").write_bytes(b"")
    wrote = hash_files(tmp_path / "out", [tmp_path / "out" / "a.nii.gz"])
    update_record(tmp_path / "out", {"cases": {"a": {"sha256": hash_images(cases[0]), "files": wrote}}})
    with pytest.raises(ConfigError, match="already holds 1 of these predictions: add --resume or --overwrite"):
        claim(folder, cases)
    assert claim(folder, cases, resume=True) == cases[1:]
    assert claim(folder, cases, resume=True, overwrite=True) == cases[1:]
    with pytest.raises(ConfigError, match="holds predictions made with another model"):
        claim(folder, cases, model=model_of(sha256="1" * 64), resume=True)
    with pytest.raises(ConfigError, match="another model or other options"):
        claim(folder, cases, resume=True, overlap=0.25)
    with pytest.raises(ConfigError, match=r"which would stay \(a.nii.gz, 1 in all\): .* -o, or remove them"):
        claim(folder, cases[1:], model=model_of(sha256="1" * 64))
    assert (tmp_path / "out" / "a.nii.gz").exists()
    assert claim(folder, cases[1:]) == cases[1:]
    assert claim(folder, cases, resume=True, overwrite=True, overlap=0.25) == cases
    assert not (tmp_path / "out" / "a.nii.gz").exists(), "or, were this stopped now, --resume would keep it"
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        claim(folder, cases, output=tmp_path / "file" / "out")


@pytest.mark.parametrize(
    "key",
    ["models_sha256", "overlap", "whole_scan", "tta", "drop_small", "channel", "missing", "file_format", "codes"],
)
def test_predictions_that_one_option_changes_are_others(tmp_path, key):
    description = describe_predictions([model_of()], Settings(), [], tmp_path)
    assert is_same(json.loads(json.dumps(description)), description)
    assert not is_same({**description, key: "another"}, description)


def test_only_what_is_whole_and_noted_stays(tmp_path, caplog):
    folder, cases, output = scans(tmp_path, "a", "b")

    def predict(left, **options):
        assert predict_files(left, output, [model_of()], Settings(**options), lambda share: None) == {}

    def again(**options):
        caplog.clear()
        left = claim(folder, cases, resume=True, **options)
        told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        return [case.id for case in left], told

    predict(claim(folder, cases))
    predict(claim(folder, cases[:1], overwrite=True), probabilities=True)
    assert again(extras=["probabilities"]) == (["b"], ["b: was predicted without probabilities: predicted again"])
    predict(cases[1:], probabilities=True)
    assert again(extras=["probabilities"]) == again() == ([], [])
    for gone in ("preview/b.jpg", "b_labels.json", "probabilities/b.nii.gz"):
        (output / gone).unlink()
        assert again() == (["b"], [f"b: {gone} is not there any more: predicted again"])
        predict(cases[1:], probabilities=True)
    facts = json.loads((output / "run.json").read_text())
    files = facts["cases"].pop("a")["files"]  # as if it had been killed before it noted the case
    (output / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"holds a\.nii\.gz, which run\.json does not record"):
        again()
    (output / JOURNAL).write_text(json.dumps({"begun": {"a": files}}))
    assert again() == (["a"], ["a: run.json does not record it as finished: predicted again"])
    predict(cases[:1])
    with pytest.raises(ConfigError, match="holds predictions made with another model"):
        claim(folder, cases, model=model_of(sha256="1" * 64), resume=True, extras=["uncertainty"])
    (output / "run.json").unlink()
    for way in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(ConfigError, match=r"holds a\.nii\.gz, b\.nii\.gz, which run\.json does not record"):
            claim(folder, cases, **way)
    assert (output / "a.nii.gz").exists()


@pytest.mark.parametrize("way", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "other.nii.gz", "a_labels.json", "attention/a_skip1.nii.gz"])
def test_files_of_other_origin_are_never_removed(tmp_path, name, way):
    scan(tmp_path / "in", np.eye(4), "a.nii.gz")
    (tmp_path / "out" / "attention").mkdir(parents=True)
    (tmp_path / "out" / name).write_bytes(b"mine")
    with pytest.raises(
        ConfigError, match=rf"out: holds {name}, which run\.json does not record .* name another folder"
    ):
        claim(tmp_path / "in", find_inputs(tmp_path / "in", 1), **way)
    assert (tmp_path / "out" / name).read_bytes() == b"mine"


def test_a_mask_that_was_corrected_by_hand_is_never_removed(tmp_path, caplog):
    folder, cases, output = scans(tmp_path, "a")
    assert predict_files(claim(folder, cases), output, [model_of()], Settings(), lambda share: None) == {}
    (output / "a.nii.gz").write_bytes(b"corrected")
    with pytest.raises(ConfigError, match=r"a\.nii\.gz: was changed after it was predicted: move it elsewhere"):
        claim(folder, cases, overwrite=True)
    assert (output / "a.nii.gz").read_bytes() == b"corrected"
    assert claim(folder, cases, resume=True) == []
    assert "1 mask changed after prediction: kept, but volumes.csv has the figures from before: a" in caplog.text


def test_scans_behind_links_are_never_written_over(tmp_path):
    original, _ = scan(tmp_path / "raw", np.eye(4), "a.nii.gz")
    before = original.path.read_bytes()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a_0000.nii.gz").symlink_to(original.path)
    cases = find_inputs(tmp_path / "links", 1)
    for way in ({}, {"overwrite": True}):
        with pytest.raises(ConfigError, match="name another folder"):
            claim(tmp_path / "links", cases, output=tmp_path / "raw", **way)
    (tmp_path / "raw" / "a.nii.gz").rename(tmp_path / "a.nii.gz")  # as a mask of an earlier call, through a link
    (tmp_path / "links" / "a_0000.nii.gz").unlink()
    (tmp_path / "links" / "a_0000.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    (tmp_path / "raw" / "a.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    update_record(
        tmp_path / "raw", {"cases": {"a": {"files": hash_files(tmp_path / "raw", [tmp_path / "raw" / "a.nii.gz"])}}}
    )
    with pytest.raises(ConfigError, match="is one of the scans, or a link to one"):
        claim(tmp_path / "links", cases, output=tmp_path / "raw", overwrite=True)
    assert (tmp_path / "a.nii.gz").read_bytes() == before


def test_maps_of_a_case_with_a_similar_name_stay(tmp_path):
    folder, cases, output = scans(tmp_path, "x", "x_skip0")
    assert predict_files(claim(folder, cases), output, [model_of()], Settings(attention=True), lambda share: None) == {}
    maps = {path.name for path in (output / "attention").iterdir()}
    assert maps == {"x_skip1.nii.gz", "x_skip0_skip1.nii.gz"}
    claim(folder, [case for case in cases if case.id == "x"], overwrite=True)
    assert {path.name for path in (output / "attention").iterdir()} == {"x_skip0_skip1.nii.gz"}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"cases": 3}',
        '{"cases": {"a": 3}}',
        '{"cases": {"a": {"files": [3]}}}',
        '{"models_sha256": 3}',
        '{"finished_parts": ["1"]}',
    ],
)
def test_a_damaged_note_tells_nothing(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert read_record(tmp_path) == {}


def test_a_mask_made_by_hand_for_a_case_that_failed_stays(tmp_path):
    folder, cases, output = scans(tmp_path, "a", "b")
    (folder / "b.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:200])
    assert list(predict_files(claim(folder, cases), output, [model_of()], Settings(), lambda share: None)) == ["b"]
    (output / "b.nii.gz").write_bytes(b"made by hand")
    for way in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(ConfigError, match=r"holds b\.nii\.gz, which run\.json does not record"):
            claim(folder, cases, **way)
    assert (output / "b.nii.gz").read_bytes() == b"made by hand"


def test_a_mask_put_in_place_of_one_that_a_killed_call_wrote_stays(tmp_path, monkeypatch):
    folder, cases, output = scans(tmp_path, "a", "b")
    claim(folder, cases)
    with monkeypatch.context() as killed:
        for name in ("note", "update_record"):
            killed.setattr(predict_module, name, lambda *_: None)
        assert predict_files(cases, output, [model_of()], Settings(), lambda share: None) == {}
    assert list(read_record(output)["begun"]) == ["a", "b"]
    (output / "b.nii.gz").write_bytes(b"corrected")
    for way in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(ConfigError, match=r"b\.nii\.gz: was changed after it was predicted: move it elsewhere"):
            claim(folder, cases, **way)
    assert (output / "b.nii.gz").read_bytes() == b"corrected"
    (output / "b.nii.gz").unlink()
    with (output / JOURNAL).open("a") as journal:
        journal.write('{"begun": {"c": {"c.nii.gz": "12')  # as the kill left it
    assert claim(folder, cases, resume=True) == cases
    assert sorted(path.name for path in output.iterdir()) == ["preview", "run.json"]
    assert predict_files(cases, output, [model_of()], Settings(), lambda share: None) == {}
    assert (read_record(output)["begun"], list(read_record(output)["cases"])) == ({}, ["a", "b"])


@pytest.mark.parametrize("name", ["../precious.txt", "/tmp/precious.txt", "a/../../precious.txt"])
def test_what_lies_outside_the_folder_is_no_prediction_of_it(tmp_path, name):
    (tmp_path / "precious.txt").write_text("mine")
    folder, cases, output = scans(tmp_path, "a")
    assert predict_files(claim(folder, cases), output, [model_of()], Settings(), lambda share: None) == {}
    facts = json.loads((output / "run.json").read_text())
    facts["cases"]["a"]["files"][name] = sha256_of(tmp_path / "precious.txt")
    (output / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"holds a run\.json that is damaged"):
        claim(folder, cases, overwrite=True)
    (output / "run.json").unlink()
    update_record(output, describe_predictions([model_of()], Settings(), [], output))
    (output / "a.nii.gz").unlink()
    (output / JOURNAL).write_text(json.dumps({"begun": {"a": {name: "0"}}}) + "\n" + "[" * 100_000)
    assert "begun" not in read_record(output) or read_record(output)["begun"] == {}
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_file_that_appears_during_the_prediction_stays(tmp_path):
    folder, cases, output = scans(tmp_path, "a")
    claim(folder, cases)
    (output / "a.nii.gz").write_bytes(b"mine")
    failed = predict_files(cases, output, [model_of()], Settings(), lambda share: None)
    assert "another file appeared there" in failed["a"]
    assert sorted(path.name for path in output.rglob("*") if path.is_file()) == ["a.nii.gz", "run.json"]
    assert (output / "a.nii.gz").read_bytes() == b"mine"


@pytest.mark.parametrize("content", ["my notes", "[1]", '{"mine": 1}'])
def test_a_run_json_of_other_origin_stays(tmp_path, content):
    scan(tmp_path / "in", np.eye(4), "a.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(content)
    with pytest.raises(ConfigError, match=r"holds a run\.json that is damaged, or that no prediction wrote"):
        claim(tmp_path / "in", find_inputs(tmp_path / "in", 1))
    assert (tmp_path / "out" / "run.json").read_text() == content


def test_a_journal_of_before_does_not_come_back(tmp_path, monkeypatch):
    """A process that is killed while it claims a folder leaves no prediction of another model as its own."""
    folder, cases, output = scans(tmp_path, "a")
    assert predict_files(claim(folder, cases), output, [model_of()], Settings(), lambda share: None) == {}
    record = read_record(output)
    (output / JOURNAL).write_text(json.dumps({"cases": record["cases"]}) + "\n")
    other, unlink = model_of(sha256="1" * 64), Path.unlink

    def kill(path, missing_ok=False):
        if path.name == JOURNAL:
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", kill)
    with pytest.raises(KeyboardInterrupt):
        claim(folder, cases, model=other, resume=True, overwrite=True)
    monkeypatch.setattr(Path, "unlink", unlink)
    assert claim(folder, cases, model=other, resume=True, overwrite=True) == cases


def test_a_mask_that_may_not_be_read_is_that_of_somebody_else(tmp_path, monkeypatch, caplog):
    folder, cases, output = scans(tmp_path, "a")
    assert predict_files(claim(folder, cases), output, [model_of()], Settings(), lambda share: None) == {}

    def refuse(file):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("attention_unet.files.prediction_record.sha256_of", refuse)
    assert claim(folder, cases, resume=True) == []
    assert "1 mask changed after prediction" in caplog.text


def test_a_map_that_another_process_is_writing_stays(tmp_path):
    """explain writes Grad-CAMs without the lock of a prediction."""
    folder, cases, output = scans(tmp_path, "a")
    maps = output / GRAD_CAM
    maps.mkdir(parents=True)
    for name, age in (("new", 0), ("old", 2 * STALE_SECONDS)):
        (maps / f"{PARTIAL}{name}.nii.gz").write_text("half")
        os.utime(maps / f"{PARTIAL}{name}.nii.gz", (time.time() - age,) * 2)
    assert claim(folder, cases) == cases
    assert [path.name for path in maps.iterdir()] == [f"{PARTIAL}new.nii.gz"]
