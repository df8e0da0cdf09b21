"""Print the results of a benchmark and write them into documents: no figure is copied by hand."""

import argparse
import csv
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Column, Table

REPOSITORY = Path(__file__).parents[1]
README, RESULTS = REPOSITORY / "README.md", REPOSITORY / "docs" / "results.md"


def parse(parser: argparse.ArgumentParser, document: Path = RESULTS) -> argparse.Namespace:
    """Parse the call of a script with the option ``--write``. ``documents`` has the documents to write into, if any.

    Raises:
        SystemExit: if the document has no place for the script. It is better to know before long measurements.
    """
    parser.add_argument("--write", action="store_true", help=f"write into {document.relative_to(REPOSITORY)}")
    options = parser.parse_args()
    if threads := getattr(options, "threads", None):
        torch.set_num_threads(threads)  # ``measured_by`` names them, also where only child processes compute
    options.documents = [document] if options.write else []
    for each in options.documents:
        around(each, Path(sys.argv[0]).stem)
    return options


def run(*arguments: str | Path, version: Path = REPOSITORY) -> float:
    """Run a command of a version, and return the seconds it took; end with its last words if it fails."""
    command = [sys.executable, "-m", "attention_unet", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(version)}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=version, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{version.name}: {' '.join(command[2:])} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def table_of(first: str, *numbers: str) -> Table:
    """Return a table with a column of names and columns of numbers."""
    return Table(first, *(Column(heading, justify="right") for heading in numbers))


def median_and_range(values: Sequence[float], digits: int = 0) -> tuple[str, str]:
    """Return the median, and the lowest and highest value, as cells of a table."""
    return f"{statistics.median(values):.{digits}f}", f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def publish(tables: Sequence[Table], notes: Sequence[str], documents: Sequence[Path], place: str | None = None) -> None:
    """Print tables and notes with command, date, commit and machine; write them into documents as well.

    Args:
        tables: tables to print; their titles are not used.
        notes: lines of text below the tables.
        documents: documents whose text between ``<!-- PLACE -->`` and ``<!-- end of PLACE -->`` is replaced.
        place: name of the place; by default that of the script.

    Raises:
        SystemExit: if a document has no such place.
    """
    console = Console(width=200)
    lines = []
    for table in tables:
        table.box, table.title = box.MARKDOWN, None
        for row in table.rows:
            row.end_section = False
        with console.capture() as captured:
            console.print(table)
        lines += [*(line.strip() for line in captured.get().splitlines() if line.strip()), ""]
    text = "\n".join([*lines, *notes, measured_by()])
    print(text)
    for document in documents:
        before, after = around(document, place or Path(sys.argv[0]).stem)
        document.write_text(f"{before}{text}\n{after}", encoding="utf-8")


def around(document: Path, name: str) -> tuple[str, str]:
    """Return the text before and after a place, with its markers. Call this before long measurements.

    Raises:
        SystemExit: if the document has no such place.
    """
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = document.read_text(encoding="utf-8").partition(first)
    _, ended, after = rest.partition(last)
    if not (found and ended):
        raise SystemExit(f"{document}: has no place for the table: expected the lines {first!r} and {last!r}")
    return before + first, last + after


def commit(repository: Path = REPOSITORY) -> str:
    """Return the short name of the commit of a repository."""
    git = ["git", "-C", str(repository), "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def read_rows(file: Path) -> list[dict[str, str]]:
    """Read a CSV file of results; empty if there is none."""
    return list(csv.DictReader(file.open())) if file.exists() else []


def add_row(file: Path, row: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Write a row into a CSV file of results, in place of an older one with the same keys."""
    others = [old for old in read_rows(file) if any(old[key] != str(row[key]) for key in keys)]
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*others, row])


def measured_by() -> str:
    """Return command, date, commit and machine as text."""
    arguments = [
        str(Path(*Path(argument).parts[-2:])) if Path(argument).is_absolute() else argument  # no folder of this machine
        for argument in sys.argv[1:]
        if argument != "--write"
    ]
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    return (
        f"`{command}`, {date.today()}, commit {commit()}, torch {torch.__version__.partition('+')[0]}, "
        f"{torch.get_num_threads()} cores of {processor()}."
    )


def processor() -> str:
    """Return the name of the processor, and whether it computes in bfloat16."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    supported = {"AVX512-BF16": torch.cpu._is_avx512_bf16_supported(), "AMX": torch.cpu._is_amx_tile_supported()}
    fast = " and ".join(each for each, there in supported.items() if there)
    return f"{name} with {fast}" if fast else name
