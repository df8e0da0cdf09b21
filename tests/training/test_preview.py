import dataclasses
import json

from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.inspection import inspect
from attention_unet.training.preview import preview
from tests.training.build import config


def seen(cohort, **data):
    """Return the preview of a small training on a cohort, and what it was made from."""
    chosen = config(cohort, data=data)
    dataset = find_dataset(chosen.data)
    inspection = inspect(dataset, {}, {}, lambda: None)
    return preview(chosen, dataset, inspection, {}), chosen, dataset, inspection


def test_a_training_that_would_be_refused_is_planned_nevertheless(cohort):
    accepted, *_ = seen(cohort)
    refused, *_ = seen(cohort, folds=1000)
    assert accepted.refusal is None
    assert "data.folds is 1000" in str(refused.refusal)
    assert refused.plan.patch == accepted.plan.patch
    assert refused.warnings == []


def test_cases_that_a_split_leaves_out_are_not_judged(cohort, tmp_path):
    ids = [case.id for case in seen(cohort)[2].cases]
    (tmp_path / "splits.json").write_text(json.dumps([{"train": ids[2:], "val": ids[:1]}]))
    accepted, chosen, dataset, inspection = seen(cohort, splits=str(tmp_path / "splits.json"))
    assert accepted.refusal is None
    copied = [dataclasses.replace(f, digest=inspection.facts[0].digest) for f in inspection.facts[:2]]
    found = preview(chosen, dataset, dataclasses.replace(inspection, facts=[*copied, *inspection.facts[2:]]), {})
    assert found.refusal is None


def test_cases_that_cannot_be_read_have_no_part_in_the_plan(cohort):
    all_cases, chosen, dataset, inspection = seen(cohort, folds=8)
    assert all_cases.refusal is None
    last = dataset.cases[-1].id
    facts = [fact for fact in inspection.facts if fact.id != last]
    found = preview(chosen, dataset, dataclasses.replace(inspection, facts=facts, problems={last: "damaged"}), {})
    assert len(found.fingerprint.grids) == 7
    assert "data.folds is 8, but the dataset has 7 cases" in str(found.refusal)
