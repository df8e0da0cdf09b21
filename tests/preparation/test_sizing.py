import dataclasses

import pytest

from attention_unet.config import Config, DataConfig, NetworkConfig, TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.machine.devices import Machine
from attention_unet.preparation.planning import make_plan
from attention_unet.preparation.sizing import choose_batch, choose_size
from tests.preparation.build import cohort_of, dataset

LAPTOP = Machine("cpu", 16 * 2**30, 2, True, 1)
GPU = Machine("cuda", 24 * 2**30, 8, True, 1)


def size(machine, minutes=None, **sections):
    return choose_size(Config(training=TrainingConfig(minutes=minutes), **sections), machine, 3)


def test_a_laptop_and_a_gpu():
    assert (size(LAPTOP, 60).base_channels, size(LAPTOP, 60).patch_voxels) == (16, 80**3)
    assert size(LAPTOP) == size(LAPTOP, 60)
    assert choose_size(Config(training=TrainingConfig(steps=500)), LAPTOP, 3).patch_voxels == 64**3
    assert (size(GPU, 60).base_channels, size(GPU, 60).patch_voxels) == (32, 128**3)


def test_more_minutes_never_give_smaller_patches():
    for machine in (LAPTOP, GPU, dataclasses.replace(LAPTOP, fast=False)):
        voxels = [size(machine, minutes).patch_voxels for minutes in (1, 5, 15, 30, 60, 240)]
        assert voxels == sorted(voxels)
        assert voxels[0] >= 48**3
    assert size(LAPTOP, 15).patch_voxels < size(LAPTOP, 60).patch_voxels
    assert size(dataclasses.replace(LAPTOP, fast=False), 60).patch_voxels < size(LAPTOP, 60).patch_voxels


def test_little_memory_gives_small_patches():
    small = size(dataclasses.replace(GPU, memory=4 * 2**30), 60)
    assert 32**3 < small.patch_voxels < 128**3
    assert 45 * 32 * small.patch_voxels * 2 <= 2 * 2**30


def test_many_classes_need_memory():
    small = dataclasses.replace(GPU, memory=12 * 2**30)
    few, many = (choose_size(Config(), small, classes).patch_voxels for classes in (3, 105))
    assert (few, many) == (128**3, 96**3)
    # 89 bytes per voxel and channel were measured (docs/gpu.md).
    assert 2 * 89 * 32 * many <= 0.5 * small.memory < 2 * 89 * 32 * few


def test_small_patches_fill_the_batch_of_a_gpu():
    assert choose_batch(Config(), GPU, 40 * 56 * 40, 32, 3) == 11
    assert choose_batch(Config(), GPU, 128**3, 32, 3) == 2
    assert choose_batch(Config(), LAPTOP, 40 * 56 * 40, 32, 3) == 2
    assert choose_batch(Config(network=NetworkConfig(dims=2)), LAPTOP, 256 * 256, 32, 3) == 8


def test_a_batch_fits_into_the_memory_of_a_gpu():
    small = dataclasses.replace(GPU, memory=8 * 2**30)
    assert choose_batch(Config(), small, 48**3, 256, 3) < choose_batch(Config(), GPU, 48**3, 32, 3)
    assert choose_batch(Config(), small, 48**3, 256, 3) * 48**3 * 45 * 256 <= 0.5 * small.memory


def test_a_batch_that_is_asked_for_must_fit():
    small = dataclasses.replace(GPU, memory=8 * 2**30)
    usual = choose_size(Config(), small, 3).patch_voxels
    config = Config(training=TrainingConfig(batch=16))
    assert choose_size(config, small, 3).patch_voxels < usual
    assert choose_size(config, dataclasses.replace(small, processes=8), 3).patch_voxels == usual


def test_every_process_has_a_batch():
    assert choose_batch(Config(), dataclasses.replace(GPU, processes=8), 128**3, 32, 3) == 16


@pytest.mark.parametrize("machine", [LAPTOP, GPU])
def test_what_is_given_is_taken(machine):
    config = Config(
        data=DataConfig(patch_voxels=1000), network=NetworkConfig(base_channels=24), training=TrainingConfig(batch=3)
    )
    chosen = choose_size(config, machine, 3)
    assert (chosen.base_channels, chosen.patch_voxels) == (24, 1000)
    assert choose_batch(config, machine, 1000, 32, 3) == 3


def test_a_patch_that_is_asked_for_must_fit():
    """45 bytes x 16 channels x 2 patches of 500 x 500 x 80 voxels are 27 GiB."""
    config = Config(data=DataConfig(patch=[500, 500, 80]))
    scans = cohort_of((120, 120, 20), (1, 1, 4))
    with pytest.raises(
        ConfigError, match="of 2 x 20,000,000 voxels needs about 27 GiB of memory, and 16 GiB are there"
    ):
        make_plan(config, dataset(), scans, LAPTOP)
    assert make_plan(config, dataset(), scans, dataclasses.replace(LAPTOP, memory=2**35)).patch == (500, 500, 80)
