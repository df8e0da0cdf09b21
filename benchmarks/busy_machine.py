"""Measure trainings on a machine that other programs use, too: ``python benchmarks/busy_machine.py``.

Each training takes the same minutes, once alone and once beside a program that keeps one core busy. They are compared
by the steps that they take.
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

BUSY = "while True: pass"


def steps_of(root: Path, run: Path, minutes: float, patch: int, busy: bool) -> int:
    """Return the steps of a training."""
    call = [sys.executable, "-m", "attention_unet", "train", "--data.root", str(root), "--run", str(run)]
    call += ["--data.patch", json.dumps([patch] * 3), "--data.spacing_mm", "[1,1,1]"]
    call += ["--data.cache", str(root / "cache")]
    call += ["--training.minutes", str(minutes), "--training.validations", "1"]
    other = subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True) if busy else None
    try:
        subprocess.run(call, check=True, capture_output=True, start_new_session=True)
    finally:
        if other is not None:
            other.kill()
    return load_state(run / "last.pt").learner.step


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--patch", type=int, default=48, help="voxels along each edge")
    parser.add_argument("--turns", type=int, default=3)
    options = parse(parser)
    taken: dict[bool, list[int]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "data"
        subprocess.run([sys.executable, "-m", "attention_unet", "phantom", "--root", str(root)], check=True)
        for turn in range(options.turns):
            for busy, each in taken.items():
                run = Path(scratch) / f"{turn}-{busy}"
                each.append(steps_of(root / "Phantom", run, options.minutes, options.patch, busy))
    table = Table("", "steps, median", "lowest to highest")
    for busy, each in taken.items():
        name = f"one of {torch.get_num_threads()} cores taken" if busy else "alone"
        table.add_row(name, f"{statistics.median(each):.0f}", f"{min(each)} to {max(each)}")
    ratio = statistics.median(alone / beside for alone, beside in zip(taken[False], taken[True], strict=True))
    note = f"{options.minutes:g} minutes each: {ratio:.2f} times as long per step beside the other program."
    publish([table], [note], options.documents)


if __name__ == "__main__":
    main()
