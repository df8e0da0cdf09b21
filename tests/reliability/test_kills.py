"""SIGKILL at random moments: no run is lost or damaged, little work is repeated, and the weights equal those of an
undisturbed run bit for bit."""

import json
import random
import subprocess
import sys
import time

import pytest
import yaml
from safetensors.torch import load_file

from attention_unet.cli import main
from attention_unet.inference.model_file import load_model
from attention_unet.training.checkpoint import load_state
from tests.conftest import REPOSITORY
from tests.reliability.build import SMALL
from tests.reliability.figures import tell

SECONDS = 0.5  # between two saved states; every second attempt saves every step
STEP_SECONDS = 1.0  # generous time for a step, a save and a log line on a busy machine


def call(dataset, run, log, steps, seconds, resume):
    budget = [f"--training.steps={steps}", f"--training.checkpoint_minutes={seconds / 60}", "--training.validations=3"]
    given = [option for option in SMALL if not option.startswith(("--training.steps", "--training.validations"))]
    data = [f"--data.root={dataset}", f"--run={run}", f"--data.cache={run.parent / 'cache'}"]
    words = [sys.executable, "-m", "tests.reliability.recorded_train", str(log), "train"]
    return [*words, *data, *given, *budget, *(["--resume"] if resume else [])]


def steps_of(log):
    return [(float(when), int(number)) for when, number in (line.split() for line in log.read_text().splitlines())]


def check_nothing_is_half_written(run):
    """Check that every file is whole; return the saved step."""
    for file in run.glob("*.json"):
        json.loads(file.read_text())
    for file in run.glob("*.yaml"):
        assert yaml.safe_load(file.read_text())
    if (run / "model.safetensors").exists():
        load_model(run)
    if (run / "history.csv").exists():
        assert len({line.count(",") for line in (run / "history.csv").read_text().splitlines()}) == 1
    return load_state(run / "last.pt").learner.step if (run / "last.pt").exists() else 0


@pytest.mark.parametrize(("kills", "steps"), [(2, 300), pytest.param(30, 4000, marks=pytest.mark.long)])
def test_a_run_that_is_killed_again_and_again(good_dataset, tmp_path, kills, steps):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    moments, survived, repeated = random.Random(seed), 0, []
    run, log = tmp_path / "run", tmp_path / "steps.log"
    log.touch()
    while survived < kills:
        seconds = (SECONDS, 1e-6)[survived % 2]
        saved, told = check_nothing_is_half_written(run), len(steps_of(log))
        assert saved < steps, "it ended before it was killed often enough: more steps are needed"
        resume = (run / "config.yaml").exists()
        process = subprocess.Popen(call(good_dataset, run, log, steps, seconds, resume), cwd=REPOSITORY)
        began = time.monotonic()
        if survived % 5 != 4:  # otherwise at any time, even during start-up
            while len(steps_of(log)) == told and process.poll() is None:
                assert time.monotonic() - began < 120
                time.sleep(0.01)
            began = time.monotonic()
        moment = began + moments.uniform(0, 1.2 if survived % 5 != 4 else 6)
        most = steps * (survived + 1) // (kills + 1)  # a fast machine may not reach the end before the last kill
        while time.monotonic() < moment and all(number < most for _, number in steps_of(log)[told:]):
            time.sleep(0.01)
        assert process.poll() is None, "it ended by itself"
        killed = time.monotonic()
        process.kill()
        process.wait()
        survived += 1
        saved = check_nothing_is_half_written(run)
        lost = [when for when, number in steps_of(log)[told:] if number > saved]
        repeated.append(killed - lost[0] if lost else 0.0)
        assert repeated[-1] < seconds + STEP_SECONDS
    subprocess.run(call(good_dataset, run, log, steps, SECONDS, True), cwd=REPOSITORY, check=True, timeout=600)
    assert not list(run.rglob(".attention_unet-partial*"))
    unbroken = tmp_path / "unbroken" / "run"
    assert main(call(good_dataset, unbroken, tmp_path / "other.log", steps, 300, False)[4:]) == 0
    weights, expected = (load_file(folder / "model.safetensors") for folder in (run, unbroken))
    assert all(weights[name].equal(expected[name]) for name in expected)
    tell(
        "SIGKILL",
        f"{survived} survived, at most {max(repeated):.2f} s of work repeated, the same weights (seed {seed})",
    )
