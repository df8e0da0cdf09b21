"""Subjects: read from a table or a pattern, never on both sides of a split, guessed from ids and intensities."""

import dataclasses

import numpy as np
import pytest

from attention_unet.config import DataConfig
from attention_unet.dataset.case_facts import CaseFacts, Extent
from attention_unet.dataset.subjects import find_similar_cases, find_subjects, read_subjects, write_subjects
from attention_unet.errors import ConfigError

IDS = ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"]


def facts(ids, medians):
    extent = Extent(
        ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)), (4, 4, 4), 1.0
    )
    rows = [np.array([[0.0, m / 2, m, 2 * m, 3 * m]]) for m in medians]
    return [
        CaseFacts(i, extent, "RAS", row, {}, {}, i, i, 1.0, (), (), 0.0, ()) for i, row in zip(ids, rows, strict=True)
    ]


def test_a_table_in_the_dataset_is_read_without_being_named(tmp_path):
    assert find_subjects(DataConfig(), tmp_path, IDS) == {}
    write_subjects(tmp_path / "subjects.csv", {case: case[:6] for case in [*IDS, "sub-03_ses-1"]})
    assert find_subjects(DataConfig(), tmp_path, IDS) == dict(zip(IDS, ["sub-01", "sub-01", "sub-02"], strict=True))


def test_spaces_around_names_do_not_count(tmp_path):
    (tmp_path / "t.csv").write_text("case,subject\nsub-01_ses-1,a\nsub-01_ses-2, a \nsub-02_ses-1,b\n")
    assert list(read_subjects(tmp_path / "t.csv", IDS).values()) == ["a", "a", "b"]


def test_ids_that_end_with_a_space_or_have_accents(tmp_path):
    ids = [" a", "b ", "Jos\u00e9"]
    write_subjects(tmp_path / "t.csv", {" a": "1", "b ": "2", "Jose\u0301": "3"})
    assert read_subjects(tmp_path / "t.csv", ids) == dict(zip(ids, "123", strict=True))


def test_a_table_that_was_not_fetched_is_no_absent_table(tmp_path):
    (tmp_path / "subjects.csv").symlink_to(".git/annex/objects/x")
    with pytest.raises(ConfigError, match=r"subjects\.csv: is a link to \.git/annex/objects/x, which does not exist"):
        find_subjects(DataConfig(), tmp_path, IDS)


def test_a_named_table_and_a_pattern(tmp_path):
    write_subjects(tmp_path / "mine.csv", dict.fromkeys(IDS, "one"))
    assert set(find_subjects(DataConfig(subjects=str(tmp_path / "mine.csv")), tmp_path, IDS).values()) == {"one"}
    by_pattern = find_subjects(DataConfig(subject_pattern="(sub-[^_]+)_"), tmp_path, IDS)
    assert list(by_pattern.values()) == ["sub-01", "sub-01", "sub-02"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,subject\nsub-01_ses-1,a\nsub-01_ses-2,a\n", r"t\.csv: has no subject for sub-02_ses-1: add a row"),
        ("case,subject\nsub-01_ses-1,\nsub-01_ses-2,a\nsub-02_ses-1,b\n", "has no subject for sub-01_ses-1"),
        ("case,subject\nsub-01_ses-1,a\nsub-01_ses-1,b\n", "sub-01_ses-1 has two subjects, a and b: keep one"),
        ("id,person\na,b\n", "not a table of subjects"),
        ("case,subject\na\n", "not a table of subjects"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_subjects(tmp_path / "t.csv", IDS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataConfig(subjects="nowhere.csv"), r"nowhere\.csv: cannot be read"),
        (DataConfig(subject_pattern="sub-"), "expected a group in brackets"),
        (DataConfig(subject_pattern="(sub"), "not a regular expression"),
        (DataConfig(subject_pattern="(a{4294967296})"), "not a regular expression"),
        (DataConfig(subject_pattern="(ses-2)"), "does not match sub-01_ses-1, sub-02_ses-1"),
        (DataConfig(subject_pattern="(a)", subjects="b.csv"), "both set"),
    ],
)
def test_wrong_settings(tmp_path, data, message):
    with pytest.raises(ConfigError, match=message):
        find_subjects(data, tmp_path, IDS)


def test_ids_that_look_like_one_person():
    (warning,) = find_similar_cases(facts(IDS, [10.0, 30.0, 20.0]))
    assert warning.startswith("2 case ids look like 1 person (such as sub-01_ses-1, sub-01_ses-2)")
    assert find_similar_cases(facts(["case_1", "case_2", "case_3"], [10.0, 30.0, 20.0])) == []
    sites = [f"{site}_{number}" for site in "ab" for number in range(9)]
    assert find_similar_cases(facts(sites, np.random.RandomState(0).permutation(18) + 1.0)) == []


def test_images_that_look_like_one_person():
    rng = np.random.RandomState(0)
    ids = [f"case_{i:03d}" for i in range(60)]
    heads = rng.uniform(100, 1000, 30)
    pairs = facts(ids, np.repeat(heads, 2) * rng.uniform(0.999, 1.001, 60))
    (warning,) = find_similar_cases(pairs[::-1])
    assert "is their neighbour in the list of ids (by chance: 2)" in warning
    assert int(warning.split("most like ")[1].split()[0]) > 50
    assert find_similar_cases(facts(ids, rng.uniform(100, 1000, 60))) == []
    numbered = [dataclasses.replace(fact, id=f"{i}") for i, fact in enumerate(facts(ids, [5.0] * 60))]
    assert find_similar_cases(numbered) == []


def test_neighbours_are_counted_as_a_slow_loop_counts_them():
    rng = np.random.RandomState(0)
    medians = [*(np.repeat(rng.uniform(100, 1000, 40), 2) * rng.uniform(0.99, 1.01, 80)), *[5.0] * 2, *[7.0] * 3]
    count = 0
    for i, median in enumerate(medians):
        distances = [abs(median - other) if i != j else np.inf for j, other in enumerate(medians)]
        closest = [j for j, distance in enumerate(distances) if distance == min(distances)]
        count += len(closest) == 1 and abs(closest[0] - i) == 1
    (warning,) = find_similar_cases(facts([f"case_{i:03d}" for i in range(len(medians))], medians))
    assert int(warning.split("most like ")[1].split()[0]) == count > 50
