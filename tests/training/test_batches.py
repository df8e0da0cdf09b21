from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from attention_unet.training.batches import Batches
from attention_unet.training.prepared_cases import PreparedCases
from tests.preparation.build import ALL, cached, patch_dataset
from tests.training.build import config


def test_trainings_of_another_seed_draw_other_patches():
    cases = [cached(number) for number in range(8)]

    def drawn(seed):
        settings = SimpleNamespace(config=config("nowhere", training={"seed": seed}), plan=patch_dataset(cases).plan)
        batches = Batches(SimpleNamespace(early=cases, training=cases), settings, None, None)
        return [case for step in range(4) for case in batches.cases_of(step, with_late=False)]

    assert sorted(drawn(0)) == sorted(drawn(1)) == [case.id for case in cases]
    assert drawn(0) == drawn(0) != drawn(1)


def test_classes_are_balanced_as_configured():
    facts = [
        SimpleNamespace(id=f"case{n}", volumes_ml={"a": 1.0, "b": float(n in (2, 5))}, lost=["b"] if n == 5 else [])
        for n in range(8)
    ]
    cases = [cached(number) for number in range(8)]
    prepared = PreparedCases(cases, cases, [], [], [], facts)
    files = SimpleNamespace(files=[(case.id, None) for case in cases])
    assert prepared.cases_of_class(files) == {0: [*range(8)], 1: [2]}  # b vanishes from case 5 when it is resampled
    shares = {}
    for balance in (True, False):
        chosen = config("nowhere", data={"balance_classes": balance, "foreground_share": 1.0})
        settings = SimpleNamespace(config=chosen, plan=patch_dataset(cases).plan)
        known = SimpleNamespace(early=cases, training=cases, cases_of_class=lambda _: {0: [*range(8)], 1: [2]})
        batches = Batches(known, settings, None, None)
        drawn = [case for step in range(200) for case in batches.cases_of(step, with_late=False)]
        shares[balance] = drawn.count("case2") / len(drawn)
    assert shares == pytest.approx({True: 0.5 + 0.5 / 8, False: 1 / 8}, abs=0.07)


def test_patches_are_drawn_near_the_structures_if_a_locator_leaves_a_margin():
    cases, chosen = [cached(0, (60, 50, 40))], config("nowhere", data={"foreground_share": 0.0})
    for margin in (None, (4, 6, 2)):
        expected = patch_dataset(cases, share=0.0, margin=margin)
        settings = SimpleNamespace(config=replace(chosen, augmentation=ALL), plan=expected.plan)
        batches = Batches(SimpleNamespace(early=cases, training=cases), settings, margin, None)
        assert all(torch.equal(batches.early[n].image, expected[n].image) for n in range(20))
