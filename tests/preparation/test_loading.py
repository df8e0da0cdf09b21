"""Batches: the same in any number of processes, and on a GPU without waiting."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from attention_unet.preparation.loading import BATCHES_IN_A_ROW, augment, pack
from tests.preparation.build import ALL, batches_of, cached, load_patch, patch_dataset


def test_reading_patches_draws_nothing_from_what_a_resumed_training_goes_on_with():
    before = torch.get_rng_state()
    next(batches_of(patch_dataset([cached(0)])))
    assert torch.equal(torch.get_rng_state(), before)


class Copies(TorchDispatchMode):
    """Records the copies to another device, and whether the program waits for them."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.overloadpacket.__name__ == "_to_copy" and kwargs.get("device", args[0].device) != args[0].device:
            self.waits.append(not kwargs.get("non_blocking"))
        return function(*args, **kwargs)


def test_augmentation_does_not_wait_for_its_device():
    """The device without values stands for a GPU: reading a number from it is an error."""
    patches = patch_dataset([cached(i) for i in range(3)], augmentation=dataclasses.replace(ALL, noise=0))
    packed = pack([patches[n] for n in range(12)])
    with Copies() as copies:
        batch = augment(packed, patches.augmentation, torch.device("meta"))
    assert (batch.image.shape, batch.image.device.type) == ((12, 1, 8, 8, 8), "meta")
    assert len(copies.waits) > 12
    assert not any(copies.waits)


def test_workers_may_be_spawned():
    """As on macOS, Windows and newer Python versions: the dataset must be picklable."""
    patches = patch_dataset([cached(0)])
    again = pickle.loads(pickle.dumps(patches))
    assert torch.equal(load_patch(again, 5)[0], load_patch(patches, 5)[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_resuming_change_no_patch(workers):
    cases = [cached(i) for i in range(3)]
    batches = batches_of(patch_dataset(cases), first_step=2, batch=4, workers=workers)
    for step in range(2, 3 + BATCHES_IN_A_ROW):  # the last one belongs to the second group of batches
        image, target, _ = next(batches)
        expected = [load_patch(patch_dataset(cases), n) for n in range(4 * step, 4 * step + 4)]
        torch.testing.assert_close(image, torch.stack([i for i, _ in expected]))
        assert torch.equal(target, torch.stack([t for _, t in expected]))


def test_batches_say_which_classes_are_annotated():
    annotated = {"case0": [True, True], "case1": [True, False]}
    cases = [dataclasses.replace(cached(n), annotated_classes=np.array(annotated[f"case{n}"])) for n in range(2)]
    patches = patch_dataset(cases)
    for n in range(4):
        batch = next(batches_of(patches, n, batch=2))
        assert batch.annotated.tolist() == [annotated[patches.case_of(2 * n + i)] for i in range(2)]
    assert next(batches_of(patch_dataset(cases[:1]), batch=2)).annotated is None
