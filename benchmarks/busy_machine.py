"""Measure trainings on a machine that other programs use, too: ``python benchmarks/busy_machine.py``.

Each training takes the same minutes: alone, beside a program that keeps one core busy, and beside one that does so for
ten seconds of each minute. They are compared by the steps that they take.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from publish import parse, publish
from rich.table import Table

from attention_unet.training.checkpoint import load_state

PROGRAMS = {  # that run beside
    "nothing": "",
    "all the time": "while True: pass",
    "10 s of each minute": """
import time
while True:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        pass
    time.sleep(50)
""",
}


def steps_of(root: Path, run: Path, minutes: float, patch: int, beside: str) -> int:
    """Return the steps of a training beside a program."""
    call = [sys.executable, "-m", "attention_unet", "train", "--data.root", str(root), "--run", str(run)]
    call += ["--data.patch", json.dumps([patch] * 3), "--data.spacing_mm", "[1,1,1]"]
    call += ["--data.cache", str(root / "cache")]
    call += ["--training.minutes", str(minutes), "--training.validations", "1"]
    other = subprocess.Popen([sys.executable, "-c", beside], start_new_session=True)
    try:
        subprocess.run(call, check=True, capture_output=True, start_new_session=True)
    finally:
        other.kill()
    return load_state(run / "last.pt").learner.step


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--patch", type=int, default=48, help="voxels along each edge")
    parser.add_argument("--turns", type=int, default=3)
    options = parse(parser)
    taken: dict[str, list[int]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "data"
        subprocess.run([sys.executable, "-m", "attention_unet", "phantom", "--root", str(root)], check=True)
        for turn in range(options.turns):
            for name, program in PROGRAMS.items():
                run = Path(scratch) / f"{turn}-{name}"
                taken[name].append(steps_of(root / "Phantom", run, options.minutes, options.patch, program))
    alone = taken["nothing"]
    table = Table(f"one of {torch.get_num_threads()} cores taken", "steps", "lowest to highest", "times as long")
    for name, each in taken.items():
        ratio = statistics.median(of_alone / steps for of_alone, steps in zip(alone, each, strict=True))
        table.add_row(name, f"{statistics.median(each):.0f}", f"{min(each)} to {max(each)}", f"{ratio:.2f}")
    note = f"{options.minutes:g} minutes each; times as long: a step, median of {options.turns} turns."
    publish([table], [note], options.documents)


if __name__ == "__main__":
    main()
