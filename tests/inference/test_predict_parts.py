"""Several processes predict the parts of a folder into one folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attention_unet.cli.main import main
from attention_unet.errors import ConfigError, DataError
from attention_unet.evaluation.case_warnings import read_provenance
from attention_unet.files import lock
from attention_unet.files.lock import Busy, folder_lock
from attention_unet.files.part import Part
from attention_unet.files.prediction_record import read_record
from attention_unet.inference import output_folder
from attention_unet.inference import predict_folder as predict_module
from attention_unet.inference import record as record_module
from attention_unet.inference.predict_folder import predict_folder
from attention_unet.inference.predict_tree import predict_tree
from attention_unet.inference.settings import Settings
from tests.conftest import read_csv, wait_until
from tests.inference.build import contents, facts, model_of, scan

PARTS = [Part(number, 3) for number in (1, 2, 3)]


@pytest.fixture
def scans(tmp_path):
    """A folder of eight scans, of which every part has some."""
    for number in range(8):
        scan(tmp_path / "in", np.eye(4), f"s{number}.nii.gz", seed=number)
    assert all(any(part.has(f"s{number}") for number in range(8)) for part in PARTS)
    return tmp_path / "in"


def test_parts_together_are_the_whole(tmp_path, scans, caplog):
    caplog.set_level("INFO")
    assert predict_folder([model_of()], scans, tmp_path / "whole") == {}
    for part in PARTS:
        assert not (tmp_path / "parts" / "volumes.csv").exists()
        assert read_record(tmp_path / "parts").get("complete") in (None, False)
        assert predict_folder([model_of()], scans, tmp_path / "parts", part=part) == {}
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert facts(tmp_path / "parts") == facts(tmp_path / "whole")
    assert caplog.messages.count("volumes.csv is written when all 3 parts are finished") == 2
    with pytest.raises(ConfigError, match=r"already holds . of these predictions: add --resume or --overwrite"):
        predict_folder([model_of()], scans, tmp_path / "parts", part=PARTS[0])
    assert predict_folder([model_of()], scans, tmp_path / "parts", part=PARTS[0], resume=True) == {}
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert predict_folder([model_of()], scans, tmp_path / "parts", part=PARTS[1], overwrite=True) == {}
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_parts_with_other_options_are_refused(tmp_path, scans):
    predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[0])
    for settings in ({"overwrite": True}, {"resume": True}, {}):
        with pytest.raises(ConfigError, match="another model or other options"):
            predict_folder([model_of()], scans, tmp_path / "out", Settings(overlap=0.25), part=PARTS[1], **settings)


def test_a_part_that_begins_at_the_same_time_with_other_options_is_refused(tmp_path, scans, monkeypatch):
    """Nothing was there yet when it looked."""
    original = output_folder._find_old

    def find_old(*arguments):
        with monkeypatch.context() as once:
            once.setattr(output_folder, "_find_old", original)
            predict_folder([model_of()], scans, tmp_path / "out", Settings(overlap=0.25), part=PARTS[1])
        return original(*arguments)

    monkeypatch.setattr(output_folder, "_find_old", find_old)
    with pytest.raises(ConfigError, match="give all parts the same"):
        predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[0])


def test_a_refused_part_removes_nothing(tmp_path, scans):
    predict_folder([model_of()], scans, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ConfigError, match="another model or other options"):
        predict_folder(
            [model_of()], scans, tmp_path / "out", Settings(overlap=0.25), part=Part(1, 2), resume=True, overwrite=True
        )
    assert contents(tmp_path / "out") == before


def test_a_part_that_is_killed_before_it_removed_anything_is_unfinished(tmp_path, scans, monkeypatch):
    for part in PARTS:
        predict_folder([model_of()], scans, tmp_path / "out", part=part)
    with monkeypatch.context() as killed:
        killed.setattr(output_folder, "_remove", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[1], overwrite=True)
    assert read_record(tmp_path / "out")["complete"] is False
    assert not (tmp_path / "out" / "volumes.csv").exists()
    assert predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[1], resume=True) == {}
    record = read_record(tmp_path / "out")
    assert (record["complete"], len(record["cases"]), record["begun"]) == (True, 8, {})


def test_a_record_that_cannot_be_read_stays_as_it_is(tmp_path, scans, monkeypatch):
    predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[0])
    before = (tmp_path / "out" / "run.json").read_bytes()
    with monkeypatch.context() as once:
        once.setattr(record_module, "read_record", lambda folder: {})
        with pytest.raises(DataError, match=r"run\.json: cannot be read, or is damaged"):
            record_module.finish_part(tmp_path / "out", PARTS[0])
    assert (tmp_path / "out" / "run.json").read_bytes() == before
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(DataError, match=r"run\.json: was removed during the prediction"):
        record_module.finish_part(tmp_path / "out", PARTS[0])


def test_no_table_is_written_if_a_part_is_repeated_when_the_last_one_ends(tmp_path, scans, monkeypatch):
    def finish(output, part):
        finished = record_module.finish_part(output, part)
        record_module.update_record(output, {"complete": False})  # as a part that begins does
        return finished

    monkeypatch.setattr(predict_module, "finish_part", finish)
    assert predict_folder([model_of()], scans, tmp_path / "out") == {}
    assert not (tmp_path / "out" / "volumes.csv").exists()


def test_a_scan_that_fails_is_recorded_until_its_part_is_repeated(tmp_path, scans):
    broken = next(f"s{number}" for number in range(8) if PARTS[0].has(f"s{number}"))
    whole = (scans / f"{broken}.nii.gz").read_bytes()
    (scans / f"{broken}.nii.gz").write_bytes(whole[:200])
    for part in PARTS:
        assert list(predict_folder([model_of()], scans, tmp_path / "out", part=part)) == [broken] * (part == PARTS[0])
    assert list(read_record(tmp_path / "out")["failed"]) == [broken]
    (scans / f"{broken}.nii.gz").write_bytes(whole)
    predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[1], resume=True)
    assert list(read_record(tmp_path / "out")["failed"]) == [broken]
    predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[0], resume=True)
    record = read_record(tmp_path / "out")
    assert (record["failed"], record["complete"], len(record["cases"])) == ({}, True, 8)


def test_scans_that_were_removed_are_reported_and_their_failures_forgotten(tmp_path, scans, caplog):
    broken = next(path.name[:2] for path in sorted(scans.iterdir()) if PARTS[1].has(path.name[:2]))
    (scans / f"{broken}.nii.gz").write_bytes(b"broken")
    for part in PARTS:
        predict_folder([model_of()], scans, tmp_path / "out", part=part)
    removed = next(path.name[:2] for path in sorted(scans.iterdir()) if PARTS[0].has(path.name[:2]))
    for name in (broken, removed):
        (scans / f"{name}.nii.gz").unlink()
    predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[2], resume=True)
    assert f"holds predictions of 1 scan not in the input: {removed}; remove their files" in caplog.text
    assert read_record(tmp_path / "out")["failed"] == {}
    (tmp_path / "out" / f"{removed}.nii.gz").unlink()
    caplog.clear()
    predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[2], resume=True)
    assert "not in the input" not in caplog.text


def test_another_number_of_parts_is_reported(tmp_path, scans, caplog):
    predict_folder([model_of()], scans, tmp_path / "out")
    predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[0], resume=True)
    assert "was predicted in 1 part: repeat all 3 with --resume" in caplog.text


def test_evaluate_tells_that_a_prediction_is_not_finished(tmp_path, scans, caplog):
    for part in PARTS:
        caplog.clear()
        predict_folder([model_of()], scans, tmp_path / "out", part=part)
        read_provenance({path.name[:2]: path for path in (tmp_path / "out").glob("*.nii.gz")})
        assert ("its prediction is not finished: repeat it with --resume" in caplog.text) == (part != PARTS[-1])


def test_a_tree_in_parts_has_one_table(tmp_path):
    for folder in "abc":
        for number in range(4):
            scan(tmp_path / "study" / folder, np.eye(4), f"t{number}.nii.gz", seed=number)
    for part in PARTS:
        assert not (tmp_path / "out" / "volumes.csv").exists()
        assert predict_tree([model_of()], tmp_path / "study", tmp_path / "out", part=part) == {}
    rows = read_csv(tmp_path / "out" / "volumes.csv")
    assert {row["case"] for row in rows} == {f"{folder}/t{number}" for folder in "abc" for number in range(4)}


@pytest.mark.parametrize(
    ("held", "wanted", "free"),
    [
        (Part(1, 3), Part(2, 3), True),
        (Part(1, 3), Part(1, 3), False),
        (Part(1, 3), Part(2, 4), False),
        (Part(1, 3), Part(), False),
        (Part(), Part(1, 3), False),
    ],
)
def test_who_may_write_at_the_same_time(tmp_path, monkeypatch, held, wanted, free):
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    with folder_lock(tmp_path, part=held):
        (tmp_path / ".attention_unet-partial-x").write_text("of the first")
        if free:
            with folder_lock(tmp_path, part=wanted):
                pass
        else:
            with pytest.raises(Busy), folder_lock(tmp_path, part=wanted):
                pass
        assert (tmp_path / ".attention_unet-partial-x").exists()


@pytest.mark.long
def test_parts_at_once_of_which_one_is_killed(tmp_path):
    """Four processes; one is killed in the middle and repeated. The result is that of one process."""
    for number in range(40):
        scan(tmp_path / "in", np.eye(4), f"s{number}.nii.gz", seed=number, grid=(30, 31, 32))
    common = ["predict", "-i", str(tmp_path / "in"), "-m", "hippocampus", "--device", "cpu"]
    assert main([*common, "-o", str(tmp_path / "whole")]) == 0

    def start(number):
        command = [sys.executable, "-m", "attention_unet", *common, "-o", str(tmp_path / "parts")]
        place = Path(__file__).parents[2]
        return subprocess.Popen([*command, "--part", f"{number}/4", "--resume"], cwd=place, stderr=subprocess.DEVNULL)

    processes = [start(number) for number in (1, 2, 3, 4)]
    own = {f"s{number}" for number in range(40) if Part(2, 4).has(f"s{number}")}
    wait_until(lambda: own & set(read_record(tmp_path / "parts").get("cases", {})), processes[1], 240)
    os.kill(processes[1].pid, signal.SIGKILL)
    assert [process.wait() for process in processes] == [0, -signal.SIGKILL, 0, 0]
    assert read_record(tmp_path / "parts")["finished_parts"] == [1, 3, 4]
    assert start(2).wait() == 0
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert facts(tmp_path / "parts") == facts(tmp_path / "whole")


def test_a_part_with_new_scans_is_not_finished_because_it_was(tmp_path, scans):
    for part in PARTS:
        assert predict_folder([model_of()], scans, tmp_path / "out", part=part) == {}
    new = next(f"n{number}" for number in range(99) if PARTS[2].has(f"n{number}"))
    scan(scans, np.eye(4), f"{new}.nii.gz", seed=9)
    for part in PARTS[:2]:
        assert predict_folder([model_of()], scans, tmp_path / "out", part=part, resume=True) == {}
    assert read_record(tmp_path / "out")["complete"] is False
    assert not (tmp_path / "out" / "volumes.csv").exists()
    assert predict_folder([model_of()], scans, tmp_path / "out", part=PARTS[2], resume=True) == {}
    assert read_record(tmp_path / "out")["complete"] is True
