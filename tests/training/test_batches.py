from types import SimpleNamespace

from attention_unet.training.batches import Batches
from tests.preparation.build import cached, patch_dataset
from tests.training.build import config


def test_trainings_of_another_seed_draw_other_patches():
    cases = [cached(number) for number in range(8)]

    def drawn(seed):
        settings = SimpleNamespace(config=config("nowhere", training={"seed": seed}), plan=patch_dataset(cases).plan)
        batches = Batches(SimpleNamespace(early=cases, training=cases), settings, None, None)
        return [case for step in range(4) for case in batches.cases_of(step, with_late=False)]

    assert sorted(drawn(0)) == sorted(drawn(1)) == [case.id for case in cases]
    assert drawn(0) == drawn(0) != drawn(1)
