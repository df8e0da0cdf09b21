"""Several processes at one study: each training is done once, and what was killed goes on to the same numbers."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.study.build import BASE

FILE = {
    "question": "Does it?",
    "config": "base.yaml",
    "arms": {"none": {"attention.skips": "identity"}, "gate": {"attention.skips": "gate"}},
    "settings": {"training.steps": 60, "training.validations": 2},
    "folds": [0, 1],
    "hypotheses": [{"arm": "gate", "against": "none", "expect": "better"}],
}
COMMAND = [sys.executable, "-m", "attention_unet", "study"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture
def file(cohort, tmp_path):
    base = BASE | {"data": BASE["data"] | {"root": str(cohort)}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(FILE, sort_keys=False))
    return tmp_path / "file.yaml"


def start(file, folder, *options):
    command = [*COMMAND, str(file), "-o", str(folder), *options]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def results(folder):
    return {path.name: path.read_text() for path in sorted((folder / "cells").glob("*.csv"))}


@pytest.mark.long
def test_in_a_row_by_xargs_by_two_processes_and_after_kills_the_results_are_the_same(file, tmp_path):
    row, parallel, shared, killed = (tmp_path / name for name in ("row", "parallel", "shared", "killed"))
    assert start(file, row).wait() == 0
    expected = results(row)
    assert len(expected) == 4

    backwards = tmp_path / "backwards"
    for number in "3210":
        assert start(file, backwards, "--only", number).wait() == 0
    assert results(backwards) == expected

    listed = subprocess.run([*COMMAND, str(file), "-o", str(parallel), "--list"], env=ENVIRONMENT, capture_output=True)
    commands = listed.stdout.decode().replace("attention-unet", f"{sys.executable} -m attention_unet")
    xargs = ["xargs", "-P2", "-d", "\n", "-I{}", "sh", "-c", "{}"]
    subprocess.run(xargs, input=commands.encode(), env=ENVIRONMENT, check=True, capture_output=True)
    assert results(parallel) == expected

    both = start(file, shared, "--jobs", "2")
    text = both.communicate()[1]
    assert both.returncode == 0
    assert results(shared) == expected
    assert text.count("fold 0 of 4") + text.count("fold 1 of 4") == 4  # each trained once

    kills, seconds = 0, 6.0
    while not results(killed):
        process = start(file, killed, "--only", "0")
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills, seconds = kills + 1, seconds * 1.3
    assert kills > 0
    [(name, text)] = results(killed).items()
    assert expected[name] == text
