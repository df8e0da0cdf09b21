"""Small studies."""

import dataclasses
import shutil

from attention_unet.config import AttentionConfig
from attention_unet.study.design import Cell, Hypothesis, Study
from attention_unet.study.scores import Score
from tests.training.build import config, with_section

BETTER, EQUIVALENT = Hypothesis("gate", "none", "better"), Hypothesis("gate", "none", "equivalent")
BETTER_BY = 0.04
CELL = Cell("gate", None, 0, 0)
BASE = {  # of a file of a study
    "data": {"folds": 4, "patch": [16, 16, 8], "spacing_mm": [3.0, 3.0, 4.0]},
    "network": {"base_channels": 4, "max_levels": 3},
    "training": {"minutes": 5, "precision": "float32"},
}


def study(cohort="nowhere", hypotheses=(BETTER,), folds=(0, 1), persons=(None,), steps=4, run_seeds=(0, 1), **changes):
    plain = config(cohort, steps=steps, training={"precision": "float32"}, attention=AttentionConfig(skips="identity"))
    arms = {"none": plain, "gate": dataclasses.replace(plain, attention=AttentionConfig(skips="gate"))}
    seeds = {name: list(run_seeds) for name in arms}
    values = {"question": "Does it?", "arms": arms, "seeds": seeds, "folds": list(folds)}
    return Study(**{**values, "persons": list(persons), "margin": 0.005, "hypotheses": list(hypotheses), **changes})


def with_all(plan, section, **fields):
    """Return a study with other values of a section in all arms."""
    arms = {name: with_section(arm, section, **fields) for name, arm in plan.arms.items()}
    return dataclasses.replace(plan, arms=arms)


def copy_study(done, folder, *others):
    """Copy the record of a study, its results, and other folders of it."""
    for name in ("cells", *others):
        shutil.copytree(done / name, folder / name, dirs_exist_ok=True)
    shutil.copy(done / "study.json", folder)


def made(plan):
    """The gate gains 0.04 in "block" and nothing in "dot"; Dice rises by 0.1 in each 100 steps."""
    results = {}
    for cell in plan.cells():
        gain = {"none": 0.0, "gate": BETTER_BY, "placebo": 0.01 * (cell.fold + 1)}[cell.arm]
        results[cell] = [
            Score("validation", step, case, case, name, 0.001 * step + gain * (name == "block"))
            for step in (100, 200, 300, 400)
            for case in (f"{cell.fold}a", f"{cell.fold}b")
            for name in ("block", "dot")
        ] + [
            Score("prediction", 400, case, case, name, 0.5 + gain * (name == "block"), 1.0, 0.0, volume)
            for case in (f"{cell.fold}a", f"{cell.fold}b")
            for name, volume in (("block", 3.0), ("dot", 0.2))
        ]
    return results
