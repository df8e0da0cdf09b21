import dataclasses

import pytest

from attention_unet.config import TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.study.design import Cell, Hypothesis, digest_of
from tests.study.build import BETTER, study, with_all
from tests.training.build import with_section


def test_cells_are_all_trainings_fold_by_fold_in_a_fixed_random_order():
    cells = study(run_seeds=(0, 1, 2), persons=(None, 3)).cells()
    assert len(set(cells)) == len(cells) == 2 * 2 * 2 * 3
    assert [cell.fold for cell in cells] == [0] * 12 + [1] * 12
    assert {cell.arm for cell in cells[:6]} == {"none", "gate"}
    assert cells == study(run_seeds=(0, 1, 2), persons=(None, 3)).cells()
    assert Cell("gate", None, 2, 1).name == "gate-all-seed2-fold1"
    assert Cell("gate", 8, 0, 4).name == "gate-8-seed0-fold4"


def test_what_does_not_fit_together_is_refused():
    plain = study()
    minutes = dataclasses.replace(plain.arms["none"], training=TrainingConfig(minutes=1))
    longer = dataclasses.replace(plain.arms["none"], training=TrainingConfig(steps=9))
    other_folds = with_section(plain.arms["none"], "data", split_seed=1)
    other_channels = with_section(plain.arms["none"], "data", bids_suffixes=["T1w"])
    for changes, message in (
        (
            {"hypotheses": [Hypothesis("gat", "none", "better")]},
            "hypotheses: gat: expected some of the arms gate, none",
        ),
        ({"hypotheses": [Hypothesis("none", "none", "better")]}, "none is compared with itself"),
        ({"seeds": {"none": [0], "gate": [0, -1]}}, "seeds: -1: expected 0 to 2147483647"),
        ({"seeds": {"none": [0], "gate": [0, 1000]}}, r"gate is \[0, 1000\]: two seeds differ by a multiple of 1000"),
        ({"margin": 0.0}, "margin is 0.0: expected a difference of Dice"),
        ({"seeds": {"none": [0], "gate": [1]}}, "gate and none have none in common"),
        ({"seeds": {"none": [0], "gate": [0, 0]}}, r"gate is \[0, 0\]: expected at least one value, each once"),
        ({"folds": []}, r"folds is \[\]: expected at least one value"),
        ({"folds": [4]}, "folds: 4: expected 0 to 3, by data.folds"),
        ({"arms": {**plain.arms, "none": minutes}}, "none: has a budget in minutes: expected training.steps"),
        ({"arms": {**plain.arms, "none": longer}}, "the arms have different training.steps"),
        ({"arms": {**plain.arms, "none": other_folds}}, "the arms have different data.split_seed"),
        ({"arms": {**plain.arms, "none": other_channels}}, "the arms have different data.bids_suffixes"),
        ({"persons": [0]}, "persons: 0: expected at least 1, or all"),
        ({"arms": {**plain.arms, "a/b": plain.arms["none"]}, "seeds": {"none": [0], "gate": [0], "a/b": [0]}}, "a/b:"),
    ):
        with pytest.raises(ConfigError, match=message):
            study(**changes)


def test_arms_may_start_from_models_in_folders_of_one_name():
    plain = study().arms["none"]
    arms = {name: with_section(plain, "training", start_from=f"{name}/fold0") for name in ("none", "gate")}
    assert list(study(arms=arms).arms) == ["none", "gate"]
    with pytest.raises(ConfigError, match="gate and none are the same"):
        study(arms={**arms, "gate": arms["none"]})


def test_the_digest_depends_on_everything_but_folders():
    plain = study("here")
    assert digest_of(plain.to_plain()) == digest_of(study("there").to_plain())
    other = dataclasses.replace(BETTER, expect="equivalent")
    edits = {"run_seeds": (0, 2), "folds": (1, 0), "persons": (3,), "steps": 5, "margin": 0.01, "hypotheses": [other]}
    for name, value in edits.items():
        assert digest_of(study(**{name: value}).to_plain()) != digest_of(plain.to_plain()), name


def test_the_digest_depends_on_the_contents_of_the_table_of_subjects(tmp_path):
    table, digests = tmp_path / "subjects.csv", []
    for text in ("case,subject\na,A\n", "case,subject\na,B\n"):
        table.write_text(text)
        digests.append(digest_of(with_all(study(), "data", subjects=str(table)).to_plain()))
    assert digests[0] != digests[1]
