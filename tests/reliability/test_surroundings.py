"""Unusual languages, terminals, clocks, disks and file names."""

import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from attention_unet.cli import main
from tests.conftest import REPOSITORY, save_nifti, wait_until
from tests.inference.build import files
from tests.reliability.build import AFFINE, SMALL, image_of

INSPECT = ["--no-trial", "--json", "--data.folds", "4", "--training.steps", "9"]
COMMAND = [sys.executable, "-m", "attention_unet"]


def run_command(*words, env=None, cwd=None, **more):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}
    return subprocess.run([*COMMAND, *words], env=environment, cwd=cwd, timeout=120, check=False, **more)


def labels_of(dataset):
    return str(dataset / "labelsTr")


SURROUNDINGS = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "German": {"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8", "TZ": "Pacific/Kiritimati"},
    "dumb": {"TERM": "dumb", "COLUMNS": "20", "NO_COLOR": "1"},
}


@pytest.mark.parametrize(
    "name", ["C", "ascii", *(pytest.param(name, marks=pytest.mark.long) for name in ("German", "dumb"))]
)
def test_the_same_numbers_in_any_surroundings(dataset, tmp_path, name):
    shutil.copy(dataset / "labelsTr" / "a.nii.gz", dataset / "labelsTr" / "größe ± 日本.nii.gz")
    words = ["evaluate", "-p", labels_of(dataset), "-r", labels_of(dataset), "-o", str(tmp_path / "out")]
    found = run_command(*words, env=SURROUNDINGS[name], capture_output=True)
    assert found.returncode == 0, found.stderr.decode(errors="replace")
    assert b"Traceback" not in found.stderr
    assert not set(b"\x1b\r") & set(found.stdout + found.stderr), "a progress bar without a terminal"
    lines = (tmp_path / "out" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:3] for line in lines[1:]][-1] == ["größe ± 日本", "brain", "1"]


@pytest.mark.parametrize("streams", [*(pytest.param(s, marks=pytest.mark.long) for s in ("out", "err")), "both"])
def test_closed_streams(dataset, tmp_path, streams):
    closed = {"out": ">&-", "err": "2>&-", "both": ">&- 2>&-"}[streams]
    words = ["evaluate", "-p", labels_of(dataset), "-r", labels_of(dataset), "-o", str(tmp_path / "out")]
    call = subprocess.list2cmdline([*COMMAND, *words])
    found = subprocess.run(["sh", "-c", f"{call} {closed}"], cwd=REPOSITORY, capture_output=True, timeout=120)
    assert found.returncode == 0
    assert b"Traceback" not in found.stdout + found.stderr
    assert (tmp_path / "out" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        (0.001, "xterm"),
        pytest.param(0.0, "dumb", marks=pytest.mark.long),
        pytest.param(0.0, "xterm", marks=pytest.mark.long),
        pytest.param(0.001, "", marks=pytest.mark.long),
    ],
)
def test_a_terminal_that_closes_while_a_training_tells_of_itself(dataset, tmp_path, monkeypatch, again, kind):
    """The shell and the kernel both send SIGHUP, one soon after the other; writes to the terminal then fail."""
    monkeypatch.setenv("TERM", kind)
    terminal, end = pty.openpty()
    words = ["train", f"--data.root={dataset}", f"--run={tmp_path / 'run'}", *SMALL, "--training.steps=100000"]
    process = subprocess.Popen(
        [*COMMAND, *words], cwd=REPOSITORY, stdout=end, stderr=end, start_new_session=True, preexec_fn=not_by_nohup
    )
    os.close(end)
    try:
        wait_until((tmp_path / "run" / "train.log").exists)
        time.sleep(0.5)
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        time.sleep(again)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 129
        assert (tmp_path / "run" / "last.pt").is_file()
    finally:
        process.kill()
        process.wait()


def not_by_nohup():
    """Let the process receive SIGHUP, even if nohup runs the tests."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("words", [INSPECT, [word for word in INSPECT if word != "--json"]])
def test_a_reader_that_goes_away(dataset, words):
    call = subprocess.list2cmdline([*COMMAND, "inspect", str(dataset), *words])
    script = f"{call} | true; echo ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", script], cwd=REPOSITORY, capture_output=True, timeout=120)
    assert found.stdout.strip() in (b"141", b"0")
    assert found.stderr == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_output_that_is_full(dataset):
    with open("/dev/full", "w") as full:
        found = run_command("inspect", str(dataset), *INSPECT, stdout=full, stderr=subprocess.PIPE)
    assert found.returncode == 1
    assert found.stderr.startswith(b"error: output: No space left on device")
    assert b"Traceback" not in found.stderr
    assert b"Exception ignored" not in found.stderr


def limited(blocks):
    """Return a function that limits file size in bytes; writes then fail as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (blocks, blocks))


def test_a_disk_that_is_full_when_a_mask_is_written(dataset, model, tmp_path):
    scans, out = str(dataset / "imagesTr"), tmp_path / "out"
    words = ["predict", "-i", scans, "-o", str(out), "-m", str(model)]
    assert main(words) == 0
    before = {name: (out / name).read_bytes() for name in files(out)}
    large = save_nifti(tmp_path / "large" / "z.nii", np.random.RandomState(0).normal(size=(90, 90, 40)), AFFINE)
    found = run_command(
        "predict", "-i", str(large), "-o", str(out), "-m", str(model), "--probabilities",
        preexec_fn=limited(60_000), stderr=subprocess.PIPE,
    )  # fmt: skip
    assert found.returncode == 1
    assert b"z.nii" in found.stderr
    assert b"File too large" in found.stderr
    assert b"Traceback" not in found.stderr
    for name in set(before) - {"run.json"}:
        assert (out / name).read_bytes() == before[name]
    assert not [name for name in files(out) if "partial" in name or name.startswith("z.")]


def test_a_disk_that_is_full_when_a_state_is_written(dataset, tmp_path):
    cache = f"--data.cache={tmp_path / 'cache'}"
    words = ["train", f"--data.root={dataset}", f"--run={tmp_path / 'run'}", cache]
    assert main([*words, *SMALL]) == 0
    state = (tmp_path / "run" / "last.pt").read_bytes()
    more = ["--resume", "--override", "--training.steps=4"]
    found = run_command(*words, *SMALL, *more, preexec_fn=limited(len(state) // 2), stderr=subprocess.PIPE)
    assert found.returncode == 1
    assert b"last.pt: writing failed (File too large): free space" in found.stderr
    assert b"Traceback" not in found.stderr
    assert (tmp_path / "run" / "last.pt").read_bytes() == state
    assert not list((tmp_path / "run").glob(".attention_unet-partial*"))
    assert main([*words, *SMALL, *more]) == 0


@pytest.mark.long
def test_a_disk_that_is_full_when_cases_are_prepared(dataset, tmp_path):
    words = ["train", f"--data.root={dataset}", f"--run={tmp_path / 'run'}", *SMALL]
    found = run_command(*words, preexec_fn=limited(5_000), stderr=subprocess.PIPE)
    assert found.returncode == 1
    assert b"Traceback" not in found.stderr
    assert b"File too large" in found.stderr
    assert not list(tmp_path.rglob("*.safetensors"))


def in_the_way(folder):
    folder.write_text("a file where a folder should be")


def test_outputs_that_cannot_be_written_are_told_before_the_work(dataset, model, tmp_path, capsys, monkeypatch):
    for name in ("run", "out", "scores"):
        in_the_way(tmp_path / name)
    labels = labels_of(dataset)
    calls = {
        "run": ["train", f"--data.root={dataset}", f"--run={tmp_path / 'run' / 'deeper'}", *SMALL],
        "out": ["predict", "-i", str(dataset / "imagesTr"), "-o", str(tmp_path / "out"), "-m", str(model)],
        "scores": ["evaluate", "-p", labels, "-r", labels, "-o", str(tmp_path / "scores")],
    }
    for name, call in calls.items():
        assert main(call) in (1, 2)
        text = capsys.readouterr().err
        assert name in text
        assert "cannot be written" in text
        assert "predicting" not in text


def test_a_folder_that_may_not_be_read(dataset, model, tmp_path, capsys, monkeypatch):
    secret = dataset / "imagesTr"
    original = Path.iterdir

    def iterdir(self):
        if self == secret:
            raise PermissionError(13, "Permission denied", str(self))
        return original(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert main(["predict", "-i", str(secret), "-o", str(tmp_path / "out"), "-m", str(model)]) == 1
    assert main(["inspect", str(dataset), "--no-trial"]) == 1
    text = capsys.readouterr().err
    assert text.count(f"error: {secret}: Permission denied") == 2


NAMES = ["with space", "größe", "日本語", "e\u0301 decomposed", "a.b.c", "-dash", "percent%20", "quote'd", "x" * 200]


def test_names_of_all_kinds(tmp_path, model):
    for name in NAMES:
        save_nifti(tmp_path / "in put" / f"{name}.nii.gz", image_of("a"), AFFINE)
    out = tmp_path / "aus gäbe"
    assert main(["predict", "-i", str(tmp_path / "in put"), "-o", str(out), "-m", str(model)]) == 0
    assert {path.name.removesuffix(".nii.gz") for path in out.glob("*.nii.gz")} == set(NAMES)
    scores = str(tmp_path / "scores")
    assert main(["evaluate", "-p", str(out), "-r", str(out), "-o", scores]) == 0
    assert main(["report", scores]) == 0


def test_a_name_that_is_no_text_is_written_as_one(tmp_path, model, capsys):
    save_nifti(tmp_path / "in" / "a.nii.gz", image_of("a"), AFFINE)
    os.rename(tmp_path / "in" / "a.nii.gz", os.fsencode(tmp_path / "in") + b"/b\xff.nii.gz")
    out = tmp_path / "out"
    assert main(["predict", "-i", str(tmp_path / "in"), "-o", str(out), "-m", str(model)]) == 0
    assert (out / "b\ufffd.nii.gz").is_file()
    scores = str(tmp_path / "scores")
    assert main(["evaluate", "-p", str(out), "-r", str(tmp_path / "in"), "-o", scores]) in (0, 1)
    assert main(["report", scores, "--cases", "0"]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


def test_a_name_too_long_for_what_lies_beside_a_mask_fails_in_words(tmp_path, model, capsys):
    save_nifti(tmp_path / "in" / f"{'n' * 247}.nii.gz", image_of("a"), AFFINE)
    save_nifti(tmp_path / "in" / "b.nii.gz", image_of("b"), AFFINE)
    out = tmp_path / "out"
    assert main(["predict", "-i", str(tmp_path / "in"), "-o", str(out), "-m", str(model)]) == 1
    assert "File name too long): give it a shorter name" in capsys.readouterr().err
    assert [path.name for path in out.glob("*.nii.gz")] == ["b.nii.gz"]


def test_line_ends_and_marks_of_windows(dataset, tmp_path):
    def of_windows(text):
        return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()

    described = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_bytes(of_windows(json.dumps(described, indent=1)))
    config = tmp_path / "config.yaml"
    config.write_bytes(of_windows("data:\n  folds: 2\ntraining:\n  steps: 2\n  validations: 1\n"))
    small = [option for option in SMALL if "steps" not in option and "folds" not in option]
    assert main(["train", "--config", str(config), f"--data.root={dataset}", f"--run={tmp_path / 'run'}", *small]) == 0
    for name in ("history.csv", "config.yaml", "splits.json"):
        file = tmp_path / "run" / name
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert main(["report", str(tmp_path / "run"), "--cases", "0"]) == 0
    assert main(["train", "--resume", "--run", str(tmp_path / "run")]) == 0


@pytest.mark.long
def test_masks_are_the_same_in_a_run_of_any_surroundings(dataset, model, tmp_path):
    masks = []
    for name in ("C", "German"):
        out = tmp_path / name
        words = ["predict", "-i", str(dataset / "imagesTr" / "a_0000.nii.gz"), "-o", str(out), "-m", str(model)]
        assert run_command(*words, env=SURROUNDINGS[name], capture_output=True).returncode == 0
        masks.append(np.asarray(nib.load(next(out.glob("a*.nii.gz"))).dataobj))
    np.testing.assert_array_equal(*masks)
