"""Workers and parallel processes give the same numbers, however they start and stop."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY, wait_until
from tests.reliability.build import SMALL
from tests.reliability.figures import tell
from tests.training.build import same, weights

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


def train(dataset, run, *more, start="fork"):
    words = [sys.executable, "-m", "tests.reliability.started_by", start, "train", f"--data.root={dataset}"]
    given = [option for option in SMALL if "steps" not in option and "validations" not in option]
    budget = ["--training.steps=20", "--training.validations=2", "--training.batch=4", "--training.precision=float32"]
    whole = [*words, *given, *budget, f"--run={run}", *more]
    return subprocess.Popen(whole, cwd=REPOSITORY, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def finished(process):
    _, told = process.communicate(timeout=240)
    assert process.returncode == 0, told
    return told


def close(a, b):
    return a.keys() == b.keys() and all(a[name].isclose(b[name], atol=2e-3, rtol=1e-2).all() for name in a)


@pytest.fixture(scope="module")
def alone(good_dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("alone") / "run"
    finished(train(good_dataset, run))
    return weights(run)


@pytest.mark.long
@pytest.mark.parametrize("start", ["spawn", "fork", "forkserver"])
def test_workers_started_in_any_way(good_dataset, tmp_path, alone, start):
    finished(train(good_dataset, tmp_path / "run", "--data.workers=2", start=start))
    assert same(weights(tmp_path / "run"), alone)


@pytest.mark.long
def test_two_processes_that_are_stopped_go_on_to_the_numbers_of_two_and_of_one(good_dataset, tmp_path, alone):
    finished(train(good_dataset, tmp_path / "unbroken", "--training.devices=2"))
    often = ["--training.devices=2", "--training.checkpoint_minutes=1e-6"]
    process, run = train(good_dataset, tmp_path / "run", *often), tmp_path / "run"
    wait_until((run / "last.pt").exists, process, 240)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 143, told
    assert "stopped and saved" in told
    finished(train(good_dataset, run, *often, "--resume"))
    assert same(weights(run), weights(tmp_path / "unbroken"))
    assert close(weights(run), alone)


SLOW = """
import sys, time
from attention_unet.cli import main
from attention_unet.training import fit
save = fit.save_state
fit.save_state = lambda *state: (print("saving", flush=True), time.sleep(8), save(*state))
sys.exit(main())
"""


def train_without_end(dataset, folder, program):
    """Train in two processes by a program. Return the first process when it has begun, and the file of its messages."""
    (folder / "program.py").write_text(program)
    given = [option for option in SMALL if "steps" not in option and "validations" not in option]
    words = [sys.executable, folder / "program.py", "train", f"--data.root={dataset}", *given]
    words += ["--training.steps=100000", "--training.validations=1", "--training.batch=4", "--training.devices=2"]
    messages = folder / "messages"
    with messages.open("w") as file:
        process = subprocess.Popen([*words, f"--run={folder / 'run'}"], env=ENVIRONMENT, stdout=file, stderr=file)
    wait_until(lambda: "patches of" in messages.read_text(), process, 240)
    return process, messages


@pytest.mark.long
def test_no_process_leaves_while_the_first_saves(good_dataset, tmp_path):
    """Fabric looks every five seconds whether a process has left, and then kills the first."""
    process, messages = train_without_end(good_dataset, tmp_path, SLOW)
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, messages.read_text()
    assert (tmp_path / "run" / "last.pt").exists()
    assert "stopped and saved" in messages.read_text()


@pytest.mark.long
@pytest.mark.parametrize("times", [6])
def test_two_processes_of_which_one_is_killed(good_dataset, tmp_path, times):
    """Kill each process in turn: the other ends without a traceback; the run resumes to the same numbers."""
    finished(train(good_dataset, tmp_path / "unbroken", "--training.devices=2"))
    run, often = tmp_path / "run", ["--training.devices=2", "--training.checkpoint_minutes=1e-6"]
    for number in range(times):
        before = (run / "last.pt").stat().st_mtime_ns if (run / "last.pt").exists() else 0
        process = train(good_dataset, run, *often, *(["--resume"] if before else []))
        while not (run / "last.pt").exists() or (run / "last.pt").stat().st_mtime_ns == before:
            assert process.poll() is None
            time.sleep(0.01)
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
        partner = int(found.stdout.split()[0])
        os.kill((partner, process.pid)[number % 2], signal.SIGKILL)
        began = time.monotonic()
        _, told = process.communicate(timeout=60)
        while exists(partner):
            assert time.monotonic() - began < 20
            time.sleep(0.05)
        if number % 2 == 0:
            assert process.returncode == 1
            assert "another process of this training has ended" in told
            assert "Traceback" not in told
    finished(train(good_dataset, run, *often, "--resume"))
    assert same(weights(run), weights(tmp_path / "unbroken"))
    tell("one of two processes killed", f"{times} times, the other ended in words, the same weights in the end")


ENDING = """
import sys, time
from attention_unet.cli import main
code = main()
time.sleep(7)
sys.exit(code)
"""


@pytest.mark.long
def test_a_process_whose_partner_was_killed_ends_by_itself_however_slowly(good_dataset, tmp_path):
    """Fabric looks every five seconds whether a process has ended, and then kills the first."""
    process, messages = train_without_end(good_dataset, tmp_path, ENDING)
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    assert process.wait(60) == 1, messages.read_text()
    assert "another process of this training has ended" in messages.read_text()


def exists(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
