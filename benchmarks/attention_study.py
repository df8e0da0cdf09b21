"""Update docs/attention_study.md: ``python benchmarks/attention_study.py --write``

Reads the committed results of the studies in ``studies/``; trains nothing. Each complete study gets its verdicts, a
table of all arms, the gain of the control over itself with another seed, and its picture. ``--write`` writes them into
the document, between ``<!-- NAME -->`` and ``<!-- end of NAME -->``.
"""

import argparse
import shutil
from collections.abc import Mapping
from typing import Any

from publish import REPOSITORY, around, publish
from rich.table import Table

from attention_unet.cli.study_file import read_study
from attention_unet.study.costs import read_costs
from attention_unet.study.design import Cell, Study
from attention_unet.study.exploration import class_names, gain_at_equal_time, metrics_in_class
from attention_unet.study.finished import Results, read_records, read_results
from attention_unet.study.gains import Gain, Pairs, find_pairs
from attention_unet.study.maps import read_maps
from attention_unet.study.register import register
from attention_unet.study.report import PICTURE
from attention_unet.study.scores import without_absent
from attention_unet.study.verdicts import judge

DOCUMENT = REPOSITORY / "docs" / "attention_study.md"


def again(study: Study, results: Results) -> Gain | None:
    """Return the gain of the control with its second seed over the first; None if it has one seed."""
    control = next(iter(study.arms))
    first, *others = study.seeds[control]
    scores = {}
    for fold in study.folds if others else []:
        pair = {seed: results[Cell(control, None, seed, fold)] for seed in (others[0], first)}
        second, plain = without_absent(pair).values()
        scores[first, fold] = second, plain
    return Pairs(scores, 0).gain() if scores else None


def interval(gain: Gain) -> str:
    """Return the interval of a gain as text."""
    low, high = gain.interval(0.95)
    return f"{low:+.4f} to {high:+.4f}"


def tabulate(study: Study, results: Results, ratios: dict[str, float]) -> Table:
    """Return a row for each arm: its Dice, its gain over the control, the time of a step, its gain in equal time."""
    control, folds = next(iter(study.arms)), next(iter(study.arms.values())).data.folds
    steps = ("Dice", f"gain over {control}", "95 % interval", "with the error for shared cases")
    table = Table("arm", *steps, "time of a step", "gain in equal time", "95 % interval")
    names = class_names(results)

    def texts(gain: Gain) -> tuple[str, str, str]:
        return f"{gain.mean:+.4f}", interval(gain), interval(gain.widened(folds))

    for arm in study.arms:
        of_arm = {cell: scores for cell, scores in results.items() if cell.seed == study.seeds[arm][0]}
        dice = [metrics_in_class(arm, of_arm, name)["dice"] or 0.0 for name in names]
        row = [arm, f"{sum(dice) / len(dice):.4f}"]
        if arm != control:
            pairs = find_pairs(study, results, arm, control, None)
            row += [*texts(pairs.gain()), f"{ratios[arm]:.2f}", *texts(gain_at_equal_time(pairs, ratios[arm]))[:2]]
        table.add_row(*row)
    if second := again(study, results):
        table.add_row(f"{control}, another seed", "", *texts(second))
    return table


def tabulate_maps(maps: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return mean Dice of each arm's first training, with its attention as trained and changed."""
    conditions = ("as trained", "removed", "constant", "mean map", "another case")
    table = Table("arm", *conditions, "cases")
    for arm, found in maps.items():
        dice = [[case["dice"].get(name) for case in found["cases"]] for name in conditions]
        means = ["" if None in values else f"{sum(values) / len(values):.4f}" for values in dice]
        table.add_row(arm, *means, str(len(found["cases"])))
    return table


def main() -> None:
    """Print the results of each study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write them into docs/attention_study.md")
    options = parser.parse_args()
    for file in sorted(path for path in (REPOSITORY / "studies").glob("*.yaml") if "-config" not in path.name):
        folder = file.with_suffix("")
        study, registration = register(read_study(file), folder, save=False)
        results = read_results(read_records(study, registration, folder), folder)
        if len(results) < len(study.cells()):
            print(f"{file.stem}: {len(results)} of {len(study.cells())} trainings are finished: no verdict")
            continue
        if options.write:
            around(DOCUMENT, file.stem)
            shutil.copyfile(folder / PICTURE, DOCUMENT.parent / f"attention-study-{file.stem}.png")
        costs = read_costs(study, registration, folder)
        if costs is None:
            raise SystemExit(f"{folder}: has no costs: run attention-unet study {file} --plan on an idle machine first")
        ratios = {arm: cost.ratio for arm, cost in costs.items()}
        notes = [f"- {verdict}" for verdict in judge(study, results)]
        documents = [DOCUMENT] if options.write else []
        maps = read_maps(study, registration, folder)
        tables = [tabulate(study, results, ratios), *([tabulate_maps(maps)] if maps else [])]
        publish(tables, [*notes, ""], documents, file.stem)


if __name__ == "__main__":
    main()
