"""What a cross-validation found: ``python benchmarks/folds.py benchmarks/results/hippocampus-heads-folds --write``

The tables of ``attention-unet cross-validate``, with what each fold was trained by, into docs/results.md, the README
and the cards of models, where they have a place for them; the learning curves into docs/. Where others have published
what they reached case by case, they stand beside, over the same cases:

    nnunet_hippocampus.csv    nnU-Net v2 (3d_fullres, 1000 epochs) on the 208 cases, each predicted by that of its five
                              folds of 260 which held it out, so trained on 208; the best checkpoint on the held-out
                              cases; output/baseline/Dataset004_Hippocampus of github.com/automl/AutoNNUnet at commit
                              2b59c93 (Becktepe et al. 2025, BSD-3-Clause).
    nnunet_hippocampus_b.csv  another run of the same, at commit e9e7459: same seed, older augmentation code.

Of the folder, ``metrics.csv`` is read, and of each fold ``config.yaml``, ``splits.json`` and ``history.csv``.
"""

import argparse
import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from publish import README, REPOSITORY, RESULTS, publish, read_rows, table_of
from rich.table import Table

from attention_unet.dataset.subjects import read_subjects
from attention_unet.evaluation.case_warnings import CaseWarnings
from attention_unet.evaluation.fold_table import tabulate_folds
from attention_unet.evaluation.interval import interval_of_mean
from attention_unet.evaluation.rows import Row, mean_dice, read_metrics
from attention_unet.evaluation.summary import summarise
from attention_unet.evaluation.summary_table import tabulate
from attention_unet.inference.model_file import SHIPPED
from attention_unet.scans.labels import FOREGROUND
from attention_unet.training.curves import draw_trainings


def main() -> None:
    """Read the folder, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of a cross-validation")
    parser.add_argument("--write", action="store_true", help="put the tables into the documents, the curves into docs/")
    parser.add_argument(
        "--beside",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "TABLE"),
        help="another's Dice of the same cases, as case,class,dice; more than once for several",
    )
    parser.add_argument("--subjects", type=Path, help="CSV file case,subject: intervals count persons")
    options = parser.parse_args()
    name = options.folder.name.removesuffix("-folds")
    pages = (RESULTS, *SHIPPED.glob("*.md")) if options.write else ()
    documents = [page for page in pages if f"<!-- {name} -->" in page.read_text("utf-8")]
    if options.write and not documents:
        raise SystemExit(f"no document has a place <!-- {name} -->")
    rows = read_metrics(options.folder / "metrics.csv")
    if options.subjects:
        subjects = read_subjects(options.subjects, sorted({row.case for row in rows}))
        rows = [replace(row, subject=subjects[row.case]) for row in rows]
    subject_of = {row.case: row.subject or row.case for row in rows}
    folds: dict[int, list[str]] = {}
    trained_on, steps, budgets = [], [], []
    scored = {row.case for row in rows}
    for run in sorted(options.folder.glob("fold*")):
        split = json.loads((run / "splits.json").read_text(encoding="utf-8"))
        if not scored >= set(split["validation"]):
            continue  # not done yet
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        last = read_rows(run / "history.csv")[-1]
        folds[config["data"]["fold"]] = split["validation"]
        trained_on.append(str(len(split["training"])))
        steps.append(last["step"])
        planned = config["training"]["steps"]
        budget = f"{planned} steps" if planned else f"{float(last['minutes']):.1f} minutes"
        budgets.append(f"{budget}, seed {config['training']['seed']}")
    by_fold = tabulate_folds(rows, folds)
    by_fold.add_row("cases trained on", *trained_on)
    by_fold.add_row("steps", *steps)
    notes = [f"Trained for {'; '.join(dict.fromkeys(budgets))}."]
    ours = mean_dice(rows)
    for other, table in options.beside:
        theirs = mean_dice(read_metrics(Path(table)))
        columns = [*folds.values(), list(ours)]
        cells = [[theirs[case] for case in cases] if theirs.keys() >= set(cases) else [] for cases in columns]
        by_fold.add_row(other, *(f"{statistics.mean(dice):.4f}" if dice else "-" for dice in cells))
        notes.append(compared(ours, other, theirs, subject_of, folds))
    publish([by_fold, tabulate(summarise(rows, CaseWarnings(), {}))], notes, documents, name)
    if options.write and f"<!-- {name} in short -->" in README.read_text("utf-8"):
        tables = {other: read_metrics(Path(table)) for other, table in options.beside}
        others = {
            other: class_means(each, ours) for other, each in tables.items() if mean_dice(each).keys() >= ours.keys()
        }
        publish([in_short(class_means(rows, ours), others)], [], [README], f"{name} in short")
    if RESULTS in documents:
        histories = {f"fold {fold}": options.folder / f"fold{fold}" / "history.csv" for fold in folds}
        draw_trainings(histories, REPOSITORY / "docs" / f"{name}-curves.png")


def class_means(rows: Sequence[Row], cases: Collection[str]) -> dict[str, float]:
    """Mean Dice of each class over cases, and the mean of classes."""
    classes: dict[str, list[float]] = {}
    for row in rows:
        if row.case in cases and row.class_name != FOREGROUND:
            classes.setdefault(row.class_name, []).append(row.metrics.dice)
    means = {name: statistics.mean(dice) for name, dice in classes.items()}
    return {**means, "mean of classes": statistics.mean(means.values())}


def in_short(ours: Mapping[str, float], others: Mapping[str, Mapping[str, float]]) -> Table:
    """One row for each tool, one column for each class."""
    table = table_of("mean Dice", *ours)
    for tool, means in {"attention_unet": ours, **others}.items():
        table.add_row(tool, *(f"{means[name]:.4f}" if name in means else "-" for name in ours))
    return table


def compared(
    ours: Mapping[str, float],
    other: str,
    theirs: Mapping[str, float],
    subject_of: Mapping[str, str],
    folds: Mapping[int, Sequence[str]],
) -> str:
    """How much better or worse than another ours is, case by case, over the cases that both have.

    The interval over persons is about these trained networks, that over folds about new trainings.
    """
    gains = {case: ours[case] - theirs[case] for case in ours if case in theirs}
    low, high = interval_of_mean(list(gains.values()), [subject_of[case] for case in gains])
    persons = len({subject_of[case] for case in gains})
    text = f"Ours minus {other}: {statistics.mean(gains.values()):+.4f}; 95 % interval {low:+.4f} to {high:+.4f} over "
    text += f"{persons} persons (these networks)"
    by_fold = [statistics.mean(gains[case] for case in cases) for cases in folds.values() if set(cases) <= set(gains)]
    if len(by_fold) > 1:
        low, high = interval_of_mean(by_fold)
        text += f", {low:+.4f} to {high:+.4f} over {len(by_fold)} folds (if ours were trained again)"
    return f"{text}; better in {sum(gain > 0 for gain in gains.values())} of {len(gains)} cases."


if __name__ == "__main__":
    main()
