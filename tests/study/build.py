"""Small studies."""

import dataclasses
import shutil

from attention_unet.config import AttentionConfig
from attention_unet.study.design import Hypothesis, Study
from tests.training.build import config

BETTER, EQUIVALENT = Hypothesis("gate", "none", "better"), Hypothesis("gate", "none", "equivalent")


def study(cohort="nowhere", hypotheses=(BETTER,), folds=(0, 1), persons=(None,), steps=4, run_seeds=(0, 1), **changes):
    plain = config(cohort, steps=steps, training={"precision": "float32"}, attention=AttentionConfig(skips="identity"))
    arms = {"none": plain, "gate": dataclasses.replace(plain, attention=AttentionConfig(skips="gate"))}
    values = {
        "question": "Does it?",
        "arms": arms,
        "seeds": {name: list(run_seeds) for name in arms},
        "folds": list(folds),
    }
    return Study(**{**values, "persons": list(persons), "margin": 0.005, "hypotheses": list(hypotheses), **changes})


def copy_study(done, folder, *others):
    """Copy the record of a study, its results, and other folders of it."""
    for name in ("cells", *others):
        shutil.copytree(done / name, folder / name, dirs_exist_ok=True)
    shutil.copy(done / "study.json", folder)
