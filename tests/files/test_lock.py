import fcntl
import subprocess
import sys
import threading
import time
from unittest import mock

import pytest

from attention_unet.errors import ConfigError, DataError
from attention_unet.files import lock
from attention_unet.files.lock import folder_lock

HOLD = "import sys, time; from pathlib import Path; from attention_unet.files.lock import folder_lock\n"
HOLD += "with folder_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"

SHORTLY = HOLD.replace("(sys.argv[1])", "(sys.argv[1]), 0.3")


@pytest.fixture
def holder(tmp_path):
    """Start another process that locks the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_of_two_processes_the_second_is_refused(tmp_path, holder):
    with pytest.raises(ConfigError, match="another process is writing here"), folder_lock(tmp_path, 0.3):
        pass


def test_a_patient_process_waits_until_the_other_has_ended(tmp_path, holder, caplog):
    caplog.set_level("INFO")
    threading.Timer(1.5, holder.kill).start()
    with folder_lock(tmp_path, 60):
        assert holder.wait(1) != 0
    assert "another process is writing here: waiting" in caplog.text


def test_a_killed_process_holds_nothing_and_its_leavings_go(tmp_path, holder):
    (tmp_path / ".attention_unet-partial-x.pt").write_text("half")
    holder.kill()
    began = time.monotonic()
    with folder_lock(tmp_path):
        assert time.monotonic() - began < 5
        (tmp_path / "kept").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_that_stays_empty_goes(tmp_path):
    with folder_lock(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()


def test_a_process_that_waited_holds_the_lock_although_the_first_removed_its_empty_folder(tmp_path, caplog):
    new = tmp_path / "new"
    code = HOLD.replace("60", "1.5")
    with subprocess.Popen([sys.executable, "-c", code, str(new)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        with folder_lock(new, 60):
            assert first.wait(1) == 0
            third = subprocess.run([sys.executable, "-c", SHORTLY, str(new)], capture_output=True, text=True)
            assert "another process is writing here" in third.stderr
    assert "cannot be locked" not in caplog.text


def test_a_folder_of_the_user_stays_though_it_is_empty(tmp_path):
    (tmp_path / "own").mkdir()
    with folder_lock(tmp_path / "own"):
        pass
    assert (tmp_path / "own").is_dir()


def test_a_disk_that_knows_no_locks_is_told_and_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(lock.FileLock, "acquire", mock.Mock(side_effect=OSError(37, "No locks available")))
    with folder_lock(tmp_path):
        (tmp_path / "written").write_text("")
    assert "cannot be locked (No locks available): let no other process write there" in caplog.text


def test_where_no_lock_is_known_none_stays_after_a_kill(tmp_path, monkeypatch, caplog):
    """A mere file in its place would say for ever that another process is writing."""
    monkeypatch.setattr(fcntl, "flock", mock.Mock(side_effect=OSError(38, "Function not implemented")))
    (tmp_path / lock.LOCK).write_text("4711\nanother-host\n")
    with folder_lock(tmp_path):
        pass
    assert "cannot be locked" in caplog.text


def test_a_lock_of_another_user_is_no_file_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.FileLock, "acquire", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(DataError, match="cannot be locked"), folder_lock(tmp_path):
        pass


def test_others_may_take_a_lock_that_this_process_left(tmp_path):
    with folder_lock(tmp_path):
        assert (tmp_path / lock.LOCK).stat().st_mode & 0o777 == 0o666
