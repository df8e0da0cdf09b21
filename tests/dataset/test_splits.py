import dataclasses
import json

import numpy as np
import pytest

from attention_unet.config import DataConfig
from attention_unet.dataset.splits import (
    Split,
    check_held_out_once,
    choose_late_cases,
    choose_split,
    read_split,
    split_cases,
    write_split,
)
from attention_unet.errors import ConfigError

IDS = [f"case_{i:03d}" for i in range(23)]


def test_folds_hold_out_every_case_once():
    splits = [split_cases(IDS, folds=5, fold=k, seed=3) for k in range(5)]
    assert sorted(i for split in splits for i in split.validation) == IDS
    for split in splits:
        assert sorted(split.training + split.validation) == IDS
        assert len(split.validation) in (4, 5)


def test_order_of_the_ids_does_not_matter():
    assert split_cases(IDS[::-1], 5, 2, 12345) == split_cases(IDS, 5, 2, 12345)


def test_folds_are_those_that_nnunet_makes():
    ids = [f"hippocampus_{i:03d}" for i in range(260)]
    index = np.arange(260)
    np.random.RandomState(12345).shuffle(index)
    for fold in range(5):
        assert split_cases(ids, 5, fold, 12345).validation == tuple(
            sorted(ids[i] for i in index[52 * fold : 52 * fold + 52])
        )


def test_minus_one_trains_on_all():
    assert split_cases(IDS, 5, -1, 0) == split_cases(IDS, 2, -1, 9)
    assert split_cases(IDS, 5, -1, 0).validation == ()


def test_fewer_cases_than_folds():
    with pytest.raises(
        ConfigError, match=r"data\.folds is 5, but the dataset has 3 cases: lower data\.folds to 3, or train on all"
    ):
        split_cases(IDS[:3], 5, 0, 0)


def test_file_round_trip(tmp_path):
    split = split_cases(IDS, 5, 1, 0)
    write_split(tmp_path / "splits.json", split)
    assert read_split(tmp_path / "splits.json") == split
    (tmp_path / "splits.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no split"):
        read_split(tmp_path / "splits.json")


def test_folds_never_split_a_subject():
    subjects = {case: f"head_{i // 2}" for i, case in enumerate(IDS)}
    splits = [split_cases(IDS, 5, fold, 12345, subjects) for fold in range(5)]
    assert sorted(case for split in splits for case in split.validation) == IDS
    for split in splits:
        assert not {subjects[case] for case in split.training} & {subjects[case] for case in split.validation}
    with pytest.raises(ConfigError, match=r"data\.folds is 5, but the dataset has 2 subjects"):
        split_cases(IDS[:4], 5, 0, 0, subjects)


def test_a_file_of_splits(tmp_path, caplog):
    folds = [{"train": IDS[5:], "val": IDS[:5]}, {"train": IDS[:18], "val": IDS[18:]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds), encoding="utf-8")
    data = DataConfig(folds=2, fold=1, splits=str(tmp_path / "splits_final.json"))
    assert choose_split(data, IDS, {}).validation == tuple(IDS[18:])
    write_split(tmp_path / "splits.json", split_cases(IDS, 5, 3, 0))
    ours = DataConfig(fold=0, splits=str(tmp_path / "splits.json"))
    assert choose_split(ours, IDS, {}) == split_cases(IDS, 5, 3, 0)
    everything = dataclasses.replace(data, fold=-1)
    assert choose_split(everything, IDS, {}).training == tuple(IDS)
    assert choose_split(everything, [*IDS, "test case"], {}).training == tuple(IDS)
    assert "no split lists test case: not used" in caplog.text


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([{"train": IDS[2:], "val": IDS[:2]}] * 3, r"holds 3 splits, but data\.folds is 5"),
        ([{"train": IDS[2:], "val": ["other"]}], "lists other, not in the dataset"),
        ([{"train": IDS[1:], "val": IDS[:2]}], "case_001: trained on and held out"),
        ([{"train": IDS[3:], "val": IDS[:3]}], "head_1: trained on and held out"),
        ([{"train": [], "val": IDS}], "has no training case"),
        ([{"training": IDS}], "no lists 'train' and 'val'"),
        ([], "holds no splits"),
        (["a"], "no lists"),
        ([{"train": [*IDS[2:], IDS[2]], "val": IDS[:2]}], "case_002 is listed twice"),
        ([{"train": IDS[2:], "val": [IDS[0], IDS[0]]}], "case_000 is listed twice"),
    ],
)
def test_a_file_of_splits_that_does_not_fit(tmp_path, folds, message):
    (tmp_path / "s.json").write_text(json.dumps(folds), encoding="utf-8")
    subjects = {case: f"head_{i // 2}" for i, case in enumerate(IDS)}
    with pytest.raises(ConfigError, match=message):
        choose_split(DataConfig(splits=str(tmp_path / "s.json")), IDS, subjects)


def test_the_split_of_one_fold_is_not_taken_for_another(tmp_path):
    write_split(tmp_path / "splits.json", split_cases(IDS, 5, 3, 0), fold=3)
    assert choose_split(DataConfig(fold=3, splits=str(tmp_path / "splits.json")), IDS, {}).validation
    with pytest.raises(ConfigError, match=r"holds the split of fold 3, but data\.fold is 1"):
        choose_split(DataConfig(fold=1, splits=str(tmp_path / "splits.json")), IDS, {})


def test_a_case_is_held_out_in_one_fold_at_most():
    splits = {fold: Split(("a",), held_out) for fold, held_out in enumerate((("b", "c"), ("d",), ("c",)))}
    check_held_out_once({0: splits[0], 1: splits[1]})
    with pytest.raises(ConfigError, match="c is held out in folds 0 and 2: expected each case in one fold"):
        check_held_out_once(splits)


def test_late_cases_are_whole_subjects():
    ids = [f"s{number:03d}_{scan}" for number in range(100) for scan in range(3)]
    subjects = {case: case[:4] for case in ids}
    late = choose_late_cases(ids, subjects, 0)
    assert len(late) == 18
    assert all(case in late for case in ids if subjects[case] in {subjects[other] for other in late})
    longitudinal = {f"s{number:02d}_{scan:02d}": f"s{number:02d}" for number in range(12) for scan in range(25)}
    late = choose_late_cases(list(longitudinal), longitudinal, 0)
    assert len(late) == 25
    assert len({longitudinal[case] for case in late}) == 1


def test_another_seed_gives_other_folds():
    assert len({split_cases(IDS, 5, 0, seed).validation for seed in (0, 1, 12345)}) == 3


def test_folds_follow_the_order_of_subjects_not_of_cases():
    by_case = split_cases(IDS, 5, 0, 3).validation
    subjects = {case: f"s{22 - number:02d}" for number, case in enumerate(IDS)}
    held_out = {subjects[case] for case in split_cases(IDS, 5, 0, 3, subjects).validation}
    assert held_out == {f"s{IDS.index(case):02d}" for case in by_case}
