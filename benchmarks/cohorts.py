"""Compare with nnU-Net at equal time on many kinds of data: ``python benchmarks/cohorts.py --minutes 15``.

Ours and nnU-Net v2 train on the same cases for the same minutes on the same cores, one after another. Only the minutes
are configured. Both predict the same held-out cases without flips, and our ``evaluate`` scores both. Results are added
to ``benchmarks/results/cohorts.csv``; ``--write`` writes the table of all of them into docs/results.md.

nnU-Net needs an environment of its own, whose Python ``--environment`` names:
``python -m venv ENV; ENV/bin/pip install torch==2.13.0 nnunetv2; ENV/bin/pip uninstall torchvision``
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cohort_data import COHORTS, make
from publish import REPOSITORY, add_row, commit, parse, processor, publish, read_rows
from rich.table import Table

FILE = REPOSITORY / "benchmarks" / "results" / "cohorts.csv"
TRAINING = ("cohort", "method", "minutes", "seed")  # columns that name a training
METHODS = ("ours", "nnunet 3d_fullres", "nnunet 2d")


def attention_unet(*arguments: object) -> None:
    """Run the command line as a user does."""
    subprocess.run([sys.executable, "-m", "attention_unet", *map(str, arguments)], check=True)


def train_ours(dataset: Path, minutes: float, seed: int, work: Path) -> dict[str, Any]:
    """Train one model and predict the held-out cases. Return facts."""
    run = work / "run"
    call = ["--data.root", dataset.parent, "--data.dataset", dataset.name, "--data.splits", dataset / "splits.json"]
    call += ["--data.cache", dataset.parent / "cache"]
    attention_unet("train", *call, "--training.minutes", minutes, "--training.seed", seed, "--run", run)
    began = time.monotonic()
    call = ["-i", dataset / "imagesTr", "-o", work / "predicted", "-m", run, "--held-out-of", run]
    attention_unet("predict", *call, "--keep-all-components")  # which to drop was decided on these cases
    plan, history = json.loads((run / "plan.json").read_text()), read_rows(run / "history.csv")
    return {
        "predict_seconds": time.monotonic() - began,
        "voxel_mm": plan["preprocessing"]["spacing_mm"],
        "patch": plan["patch"],
        "steps": int(history[-1]["step"]),
    }


def train_nnunet(dataset: Path, configuration: str, minutes: float, work: Path, environment: str) -> dict[str, Any]:
    """Plan, train and predict with nnU-Net. Return facts."""
    places = {f"nnUNet_{kind}": str(dataset.parent.parent / f"nnUNet_{kind}") for kind in ("raw", "preprocessed")}
    settings = {"nnUNet_results": str(work / "results"), "nnUNet_compile": "f", "nnUNet_n_proc_DA": "1"}
    call = [environment, str(Path(__file__).with_name("nnunet_train.py")), "--name", dataset.name]
    call += ["--configuration", configuration, "--minutes", str(minutes), "--output", str(work / "predicted")]
    subprocess.run(call, check=True, env=os.environ | places | settings)
    facts = json.loads((work / "predicted" / "nnunet.json").read_text())
    voxel_mm = facts["spacing_mm"][::-1]  # nnU-Net's axes are those of SimpleITK
    return {name: facts[name] for name in ("predict_seconds", "steps", "patch")} | {"voxel_mm": voxel_mm}


def measure(name: str, method: str, minutes: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train, predict and score. Return a row of the file of results."""
    dataset = make(name, options.data, options.work / "nnUNet_raw")
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        if method == "ours":
            facts = train_ours(dataset, minutes, seed, work)
        else:
            facts = train_nnunet(dataset, method.split()[1], minutes, work, options.environment)
        scored = work / "scores"
        attention_unet(
            "evaluate", "-p", work / "predicted", "-r", dataset / "labelsTr", "-o", scored, "--predicted-only"
        )
        summary = json.loads((scored / "summary.json").read_text())
        held_out = json.loads((dataset / "splits.json").read_text())[0]["val"]
        if summary["n_cases"] != len(held_out):
            raise SystemExit(f"{name}, {method}: {summary['n_cases']} of {len(held_out)} cases predicted")
    mean = summary["foreground_mean"]
    return {
        "cohort": name,
        "method": method,
        "minutes": f"{minutes:g}",
        "seed": seed,
        "dice": f"{mean['dice']:.4f}",
        "hd95_mm": "inf" if mean["hd95_mm"] is None else f"{mean['hd95_mm']:.2f}",
        "nsd": f"{mean['nsd']:.4f}",
        "lowest_class": f"{min(each['dice']['mean'] for each in summary['classes'].values()):.4f}",
        "predict_seconds": f"{facts['predict_seconds'] / len(held_out):.1f}",
        "voxel_mm": " x ".join(f"{mm:.3g}" for mm in facts["voxel_mm"]),
        "patch": " x ".join(map(str, facts["patch"])),
        "steps": facts["steps"],
        "processor": processor(),
        "commit": commit(),
    }


def tabulate() -> Table:
    """Return the table of all results, with the mean of several trainings."""
    table = Table(
        *("cohort", "minutes", "method", "Dice", "lowest class", "HD95 mm", "NSD", "s per scan", "steps", "voxel mm"),
        *("processor", "n"),
    )
    rows = read_rows(FILE)
    keys = dict.fromkeys((row["cohort"], row["minutes"], row["method"]) for row in rows)
    order = {name: i for i, name in enumerate(COHORTS)}
    for cohort, minutes, method in sorted(keys, key=lambda key: (order[key[0]], float(key[1]), METHODS.index(key[2]))):
        same = [r for r in rows if (r["cohort"], r["minutes"], r["method"]) == (cohort, minutes, method)]
        means = {
            name: statistics.mean(float(row[name]) for row in same)
            for name in ("dice", "lowest_class", "hd95_mm", "nsd", "predict_seconds", "steps")
        }
        figures = [f"{means['dice']:.3f}", f"{means['lowest_class']:.3f}", f"{means['hd95_mm']:.1f}"]
        figures += [f"{means['nsd']:.3f}", f"{means['predict_seconds']:.1f}", f"{means['steps']:.0f}"]
        makers = ", ".join(sorted({row["processor"].split("(")[0].split()[0] for row in same}))
        table.add_row(cohort, minutes, method, *figures, same[0]["voxel_mm"], makers, str(len(same)))
    return table


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="*", default=[15.0])
    parser.add_argument("--only", nargs="*", choices=COHORTS, default=list(COHORTS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data", help="folder of the real datasets")
    parser.add_argument("--work", type=Path, required=True, help="folder for datasets and preprocessed cases")
    parser.add_argument("--environment", help="Python of nnU-Net's environment")
    parser.add_argument("--missing", action="store_true", help="only trainings that have no row yet")
    options = parse(parser)
    done = {tuple(row[key] for key in TRAINING) for row in read_rows(FILE)} if options.missing else set()
    for name, minutes, method, seed in itertools.product(options.only, options.minutes, options.methods, options.seeds):
        if (name, method, f"{minutes:g}", str(seed)) in done or (method != "ours" and seed != options.seeds[0]):
            continue
        row = measure(name, method, minutes, seed, options)
        print(row, flush=True)
        add_row(FILE, row, TRAINING)
    publish([tabulate()], [], options.documents)


if __name__ == "__main__":
    main()
