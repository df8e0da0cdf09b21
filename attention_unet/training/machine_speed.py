"""Measure how fast this machine trains, so that a plan fits a budget in minutes."""

import dataclasses
import functools
import time

import torch

from attention_unet.config import TrainingConfig
from attention_unet.machine.devices import Machine, make_fabric, this_machine
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.preparation.loading import Batch
from attention_unet.preparation.sizing import CHANNELS
from attention_unet.training.learner import Learner

EDGE, STEPS = 40, 3  # voxels of a patch along each axis; timed steps; the fastest counts
LEAST_MINUTES = 2.0  # shorter budgets are not worth a measurement


def measure_machine(config: TrainingConfig) -> Machine:
    """Return the hardware of this machine. For a budget in minutes of one process on a CPU, its speed is measured.

    Raises:
        ConfigError: if the configured device is not available.
    """
    machine = this_machine(config)
    alone = machine.kind == "cpu" and machine.processes == 1
    if not alone or (config.budget_minutes or 0) < LEAST_MINUTES:
        return machine
    return dataclasses.replace(machine, voxels_per_second=measure_rate(config))


@functools.cache  # for all folds of a cross-validation
def measure_rate(config: TrainingConfig) -> float:
    """Return the voxels that this process trains on per second, with 16 channels at the finest level."""
    with torch.random.fork_rng(devices=[]):
        fabric = make_fabric(dataclasses.replace(config, devices=1, nodes=1, batch=None))
        network = AttentionUNet(Architecture(channels=[CHANNELS["cpu"] * 2**i for i in range(4)], decoder_convs=1))
        learner = Learner(network, config, fabric, overlapping=False)
        image = torch.randn(2, 1, EDGE, EDGE, EDGE)
        batch = Batch(image, (image > 1).to(torch.uint8))
        seconds = []
        for _ in range(STEPS + 1):  # the first one is slower
            began = time.perf_counter()
            learner.learn(batch, config.learning_rate).read_loss()
            seconds.append(time.perf_counter() - began)
    return image.numel() / min(seconds)
