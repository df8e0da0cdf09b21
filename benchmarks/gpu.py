"""Check and time everything on one GPU, in eight minutes: ``python benchmarks/gpu.py --data FOLDER``.

Each section is a process of its own with its own time limit, so that one that fails does not end the others. A row is a
measured value beside its bound. FOLDER contains Task04_Hippocampus.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import torch
from gpu_checks import agreement, ground, memory, repeat, small_memory
from gpu_runs import patches, resume, scans, stop, time_to_dice
from gpu_steps import steps, where_time_goes, windows
from publish import REPOSITORY, parse, publish
from rich.table import Table

DOCUMENT = REPOSITORY / "docs" / "gpu.md"
SECTIONS = {  # name: function, limit in seconds
    "ground": (ground, 40),
    "agreement": (agreement, 120),
    "repeat": (repeat, 60),
    "memory": (memory, 60),
    "small memory": (small_memory, 60),
    "stop": (stop, 60),
    "resume": (resume, 40),
    "steps": (steps, 120),
    "where time goes": (where_time_goes, 40),
    "patches": (patches, 60),
    "windows": (windows, 60),
    "scans": (scans, 120),
    "time to dice": (time_to_dice, 150),
}


def run_section(name: str, options: argparse.Namespace) -> list[list[str]]:
    """Run a section in a process of its own. Return its rows."""
    call = [sys.executable, __file__, "--section", name, "--device", options.device, "--data", str(options.data)]
    call += ["--quick"] * options.quick
    began, limit, rows = time.monotonic(), SECTIONS[name][1], []
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        timer = Timer(limit, process.kill)
        timer.start()
        for line in process.stdout or ():
            if line.startswith("["):
                rows.append(json.loads(line))
                print(f"{name}: {rows[-1]}", flush=True)  # at once: the card may be taken away
        timer.cancel()
    if process.returncode:
        late = time.monotonic() - began >= limit
        rows.append(["failed", f"longer than {limit} s" if late else "see its error above", "", "no"])
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return rows


def main() -> None:
    """Run all sections and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data", help="folder with Task04_Hippocampus")
    parser.add_argument("--quick", action="store_true", help="small sizes, to test this script without a GPU")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--section", help=argparse.SUPPRESS)
    options = parse(parser, DOCUMENT)
    if options.section:
        run, _ = SECTIONS[options.section]
        run(torch.device(options.device), options.data, options.quick)
        return
    table = Table("section", "row", "measured", "bound", "ok")
    for name in options.only:
        for row in run_section(name, options):
            table.add_row(name, *row)
    card = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    publish([table], [f"On {card}."], options.documents)


if __name__ == "__main__":
    main()
