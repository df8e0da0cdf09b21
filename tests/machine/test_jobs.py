import json
import os
import signal
import sys
import threading
import time

import pytest
import torch

from attention_unet.machine import jobs
from attention_unet.machine.jobs import run_jobs

TELL = """
import json, os, sys, time
with open(sys.argv[1], "w") as file:
    keys = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"
    json.dump({"began": time.time(), **{key: os.environ.get(key) for key in keys}}, file)
print("a line of", os.path.basename(sys.argv[1]), file=sys.stderr)
time.sleep(float(sys.argv[2]))
with open(sys.argv[1] + ".end", "w") as file:
    json.dump(time.time(), file)
sys.exit(int(sys.argv[3]))
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Make calls of a program that writes its environment into a file, waits and ends with a code."""
    monkeypatch.setattr(jobs, "PROGRAM", [sys.executable, "-c", TELL])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda *codes, seconds=0.5: {
        f"job {i}": [f"{tmp_path}/{i}", str(seconds), str(c)] for i, c in enumerate(codes)
    }


def told(tmp_path, count):
    return [json.loads((tmp_path / str(number)).read_text()) for number in range(count)]


def ends(tmp_path, count):
    return [json.loads((tmp_path / f"{number}.end").read_text()) for number in range(count)]


def test_as_many_run_at_once_as_wanted(calls, tmp_path):
    assert run_jobs(calls(0, 0, 0), 2) == 0
    began, ended = [each["began"] for each in told(tmp_path, 3)], ends(tmp_path, 3)
    assert max(began[:2]) < min(ended[:2])
    assert began[2] >= min(ended[:2])


def test_they_share_processors_and_gpus(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    run_jobs(calls(0, 0, 0), 3)
    found = told(tmp_path, 3)
    assert [each["OMP_NUM_THREADS"] for each in found] == ["2", "2", "2"]
    assert sorted(each["CUDA_VISIBLE_DEVICES"] for each in found) == ["0", "0", "1"]


def test_a_gpu_that_is_free_again_is_used_again(calls, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b,-1,GPU-c")  # CUDA ignores what follows -1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    some = calls(0, 0, 0)
    some["job 0"][1] = "3"
    run_jobs(some, 2)
    first, second, third = (each["CUDA_VISIBLE_DEVICES"] for each in told(tmp_path, 3))
    assert {first, second} == {"GPU-a", "GPU-b"}
    assert third == second


def test_threads_that_the_user_set_are_kept(calls, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    run_jobs(calls(0), 2)
    assert told(tmp_path, 1)[0]["OMP_NUM_THREADS"] == "5"


def test_lines_are_named_and_one_that_fails_stops_no_other(calls, tmp_path, caplog):
    with caplog.at_level("INFO"):
        assert run_jobs(calls(1, 2, 0), 1) == 2
    assert len(ends(tmp_path, 3)) == 3
    assert [line for line in caplog.messages if line.startswith("job")] == [
        f"job {number}: a line of {number}" for number in range(3)
    ]
    assert "2 of 3 done, about " in caplog.text
    assert "s left; 2 with errors" in caplog.text


def test_the_same_error_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(jobs, "PROGRAM", [sys.executable, "-c", "import sys; sys.exit('error: no such model')"])
    with caplog.at_level("INFO"):
        assert run_jobs({"one": [], "two": []}, 1) == 1
    assert caplog.text.count("error: no such model") == 1


def test_files_of_the_present_folder_are_not_imported(tmp_path, monkeypatch, caplog):
    (tmp_path / "random.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO"):
        assert run_jobs({"one": ["predict"]}, 1) == 2
    assert "imported" not in caplog.text
    assert "required" in caplog.text


def test_one_that_is_killed_is_told(monkeypatch, caplog):
    monkeypatch.setattr(jobs, "PROGRAM", [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    assert run_jobs({"part 1/2": []}, 1) == 128 + signal.SIGKILL
    assert "part 1/2: killed by signal 9, perhaps because memory ran out" in caplog.text


def test_who_interrupts_it_interrupts_all_of_them(calls, tmp_path, caplog):
    def interrupt():
        while not (tmp_path / "1").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR1)

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    try:
        with caplog.at_level("INFO"), pytest.raises(KeyboardInterrupt):
            run_jobs(calls(0, 0, 0, seconds=60), 2)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < 30
    assert not (tmp_path / "2").exists()
    assert not list(tmp_path.glob("*.end"))
    assert "done" not in caplog.text
