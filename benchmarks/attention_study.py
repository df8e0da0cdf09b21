"""Update docs/attention_study.md: ``python benchmarks/attention_study.py --write``

Reads the committed results of the studies in ``studies/``; trains nothing. Each complete study gets its verdicts, a
table of all arms, the gain of the control over itself with another seed, and its picture. ``--write`` writes them into
the document, between ``<!-- NAME -->`` and ``<!-- end of NAME -->``.
"""

import argparse
import shutil

from publish import REPOSITORY, around, publish
from rich.table import Table

from attention_unet.cli.study_file import read_study
from attention_unet.study.costs import read_costs
from attention_unet.study.design import Cell, Study
from attention_unet.study.exploration import class_names, metrics_in_class
from attention_unet.study.finished import Results, read_records, read_results
from attention_unet.study.gains import Gain, Pairs, find_pairs
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
    """Return a row for each arm: its Dice, its gain over the control, and the time of a step."""
    control, folds = next(iter(study.arms)), next(iter(study.arms.values())).data.folds
    table = Table(
        "arm", "Dice", f"gain over {control}", "95 % interval", "with the error for shared cases", "time of a step"
    )
    names = class_names(results)

    def row(arm: str, dice: str, gain: Gain | None, ratio: str) -> None:
        texts = [f"{gain.mean:+.4f}", interval(gain), interval(gain.widened(folds))] if gain else [""] * 3
        table.add_row(arm, dice, *texts, ratio)

    for arm in study.arms:
        of_arm = {cell: scores for cell, scores in results.items() if cell.seed == study.seeds[arm][0]}
        dice = [metrics_in_class(arm, of_arm, name)["dice"] or 0.0 for name in names]
        gain = find_pairs(study, results, arm, control, None).gain() if arm != control else None
        row(arm, f"{sum(dice) / len(dice):.4f}", gain, f"{ratios[arm]:.2f}" if ratios else "")
    if second := again(study, results):
        row(f"{control}, another seed", "", second, "")
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
        ratios = {arm: cost.ratio for arm, cost in (read_costs(study, registration, folder) or {}).items()}
        notes = [f"- {verdict}" for verdict in judge(study, results)]
        documents = [DOCUMENT] if options.write else []
        publish([tabulate(study, results, ratios)], [*notes, ""], documents, file.stem)


if __name__ == "__main__":
    main()
