import numpy as np
import pytest

from attention_unet.data.splits import read_split, split_cases, write_split
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
    with pytest.raises(ConfigError, match=r"data\.folds is 5 but there are 3 cases"):
        split_cases(IDS[:3], 5, 0, 0)


def test_file_round_trip(tmp_path):
    split = split_cases(IDS, 5, 1, 0)
    write_split(tmp_path / "splits.json", split)
    assert read_split(tmp_path / "splits.json") == split
    (tmp_path / "splits.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no split"):
        read_split(tmp_path / "splits.json")
