"""Faults of the machine: each ends a training with a helpful error, and no saved state is lost."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from attention_unet.errors import ConfigError, DataError
from attention_unet.files import lock
from attention_unet.preparation.cache import open_case
from attention_unet.scans import header
from attention_unet.training import batches, fit, validation_round
from attention_unet.training import train as module
from attention_unet.training.faults import ProcessDied, reporting_faults
from attention_unet.training.learner import Diverged, Learner
from attention_unet.training.train import train
from tests.conftest import wait_until
from tests.training.build import command, config, same, weights


def at_step(monkeypatch, step, act):
    original = Learner.learn

    def learn(self, *batch):
        if self.step == step:
            act()
        return original(self, *batch)

    monkeypatch.setattr(Learner, "learn", learn)


def saving_after_every_step(**training):
    return {"checkpoint_minutes": 1e-9, **training}


def test_memory_that_does_not_suffice(cohort, tmp_path, monkeypatch, unbroken):
    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with monkeypatch.context() as patched:
        at_step(patched, 4, fail)
        with pytest.raises(ConfigError, match=r"does not fit into the memory of cpu: lower training\.batch"):
            train(config(cohort, training=saving_after_every_step()), tmp_path / "run")
    train(config(cohort, training=saving_after_every_step()), tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "run"), weights(unbroken))


def test_a_worker_that_is_killed(cohort, tmp_path, monkeypatch, unbroken):
    def kill():
        for worker in torch.multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)

    chosen = config(cohort, data={"workers": 1}, training=saving_after_every_step())
    with monkeypatch.context() as patched:
        at_step(patched, 2, kill)
        with pytest.raises(ProcessDied, match=r"a data worker died .*Killed.*lower data\.workers.*--resume --run"):
            train(chosen, tmp_path / "run")
    train(chosen, tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "run"), weights(unbroken))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_prepared_case_that_vanishes(cohort, tmp_path, monkeypatch, workers):
    def remove():
        open_case.cache_clear()
        shutil.rmtree(tmp_path / "cache")

    original = batches.load_patches
    monkeypatch.setattr(batches, "load_patches", lambda *rest: (remove(), original(*rest))[1])
    with pytest.raises(
        DataError, match=r"^\S+safetensors: the preprocessed case \w+ cannot be read.*--resume"
    ) as caught:
        train(config(cohort, data={"workers": workers, "cache": str(tmp_path / "cache")}), tmp_path / "run")
    assert "Traceback" not in str(caught.value)


def test_a_scan_that_vanishes_before_it_is_validated_on(cohort, tmp_path, monkeypatch):
    data = shutil.copytree(cohort, tmp_path / "data")
    original = validation_round.validate

    def validate(*rest, **named):
        for scan in (data / "imagesTr").iterdir():
            scan.unlink()
        return original(*rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(validation_round, "validate", validate)
        with pytest.raises(DataError, match=r"nii\.gz: cannot be read \(No such file"):
            train(config(data), tmp_path / "run")
    shutil.rmtree(data)
    shutil.copytree(cohort, data)
    train(config(data), tmp_path / "run", resume=True)
    assert weights(tmp_path / "run")


def test_memory_that_other_programs_hold_ends_no_validation(cohort, tmp_path, monkeypatch):
    original = validation_round.validate

    def validate(*rest, **named):
        with monkeypatch.context() as patched:
            patched.setattr(header, "free_memory", lambda: 0)
            return original(*rest, **named)

    monkeypatch.setattr(validation_round, "validate", validate)
    train(config(cohort, steps=2), tmp_path / "run")
    assert weights(tmp_path / "run")


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_gradient_that_is_not_finite_names_the_cases_and_changes_nothing_saved(cohort, tmp_path, monkeypatch, ahead):
    monkeypatch.setitem(fit.AHEAD, "cpu", ahead)  # 1 on a GPU
    train(config(cohort, steps=3), tmp_path / "run")
    state, model = ((tmp_path / "run" / name).read_bytes() for name in ("last.pt", "model.safetensors"))
    monkeypatch.setattr(Learner, "_loss_of", lambda self, batch: self._wrapped(batch.image)[0].sum() * float("nan"))
    with pytest.raises(Diverged, match=r"step 4 \(loss nan\).*patches of this step are from phantom_\d+, phantom_\d+"):
        train(config(cohort, steps=6), tmp_path / "run", resume=True, override=True)
    assert [(tmp_path / "run" / name).read_bytes() for name in ("last.pt", "model.safetensors")] == [state, model]


def test_a_board_and_a_log_that_cannot_be_written_end_nothing(cohort, tmp_path, caplog):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("a file in its place")
    (tmp_path / "run" / "train.log").mkdir()
    train(config(cohort, steps=2), tmp_path / "run")
    assert weights(tmp_path / "run")
    assert "TensorBoard cannot be written" in caplog.text
    assert re.search(r"train\.log: cannot be written \(Is a directory\)", caplog.text)


def test_two_trainings_in_one_folder(cohort, tmp_path, monkeypatch):
    arguments = command(cohort, tmp_path / "run", "--training.steps", "100000")
    first = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "run" / "train.log").exists)
        monkeypatch.setattr(lock, "PATIENCE", 0.2)
        with pytest.raises(ConfigError, match="another process is writing here"):
            train(config(cohort), tmp_path / "run", resume=True)
        with pytest.raises(ConfigError, match="another process is writing here"):
            train(config(cohort), tmp_path / "run")
    finally:
        first.kill()
        first.wait()


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("unable to write to file </torch_1_2>: No space left on device (28)", ConfigError, "--shm-size"),
        (
            "Caught RuntimeError in worker.\nOriginal Traceback ...\nRuntimeError: odd",
            ProcessDied,
            r"failed \(RuntimeError: odd",
        ),
        ("DataLoader worker (pid 7) is killed by signal: Killed.", ProcessDied, "lower data.workers"),
        ("[gloo/pair.cc:1] Connection closed by peer", ProcessDied, "another process of this training has ended"),
        ("a fault of the program", RuntimeError, "^a fault of the program$"),
    ],
)
def test_what_torch_reports_in_words_of_its_own(tmp_path, text, kind, message):
    with pytest.raises(kind, match=message), reporting_faults(tmp_path, torch.device("cpu"), 2):
        raise RuntimeError(text)


def test_a_state_is_read_once_no_other_process_can_write_it(cohort, tmp_path, monkeypatch, unbroken):
    """Another process saves while this one waits for it to end."""
    run = shutil.copytree(unbroken, tmp_path / "run")
    newest = (run / "last.pt").read_bytes()
    (run / "last.pt").write_bytes(b"of before")
    original = module.folder_lock

    @contextlib.contextmanager
    def waiting(folder):
        with original(folder):
            (run / "last.pt").write_bytes(newest)
            yield

    monkeypatch.setattr(module, "folder_lock", waiting)
    train(config(cohort), run, resume=True)
    assert (run / "history.csv").read_text() == (unbroken / "history.csv").read_text()


def test_each_of_several_trainings_under_slurm_looks_after_its_own_folder(cohort, tmp_path, monkeypatch, unbroken):
    run = shutil.copytree(unbroken, tmp_path / "run")
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(ConfigError, match="already has a run"):
        train(config(cohort), run)
