"""Measure training steps on random images: how fast this machine is, and what a step of a plan takes."""

import dataclasses
import functools
import time
from dataclasses import dataclass

import torch

from attention_unet.attention.cost import measure_seconds
from attention_unet.config import Config, TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.machine.devices import Machine, check_batch, devices_and_nodes, make_fabric, this_machine
from attention_unet.machine.memory import out_of_memory, peak_bytes, reuse_freed_memory
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.preparation.loading import Batch
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.sizing import CHANNELS
from attention_unet.training.learner import Learner, build_network

STEPS = 3  # that are timed
EDGE = 40  # voxels of a patch along each axis, to measure the machine
LEAST_MINUTES = 2.0  # shorter budgets are not worth a measurement of the machine


def measure_machine(config: TrainingConfig) -> Machine:
    """Return the hardware of this machine. For a budget in minutes of one process on a CPU, its speed is measured."""
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
    return image.numel() / min(seconds)  # the fastest step counts


@dataclass(frozen=True)
class Trial:
    """A step of one process: its patches, its median time, and its peak memory beyond network and optimiser.

    The memory is None if the device does not report it.
    """

    patches: int
    seconds: float
    bytes: int | None


def try_step(config: Config, plan: Plan) -> Trial:
    """Time the steps of one process of a training. Raise ConfigError if this machine cannot take them."""
    devices, nodes = devices_and_nodes(config.training)
    check_batch(plan.batch, devices * nodes)
    patches = plan.batch // (devices * nodes)
    alone = dataclasses.replace(config.training, devices=1, nodes=1, batch=patches)
    reuse_freed_memory(of_any_size=True)
    fabric = make_fabric(alone)
    masks = plan.labels.channels if plan.labels.overlapping else 1
    try:
        learner = Learner(build_network(plan), alone, fabric, plan.labels.overlapping)
        image = torch.randn(patches, len(plan.channels), *plan.window).to(fabric.device)
        target = torch.zeros(patches, masks, *plan.window, dtype=torch.uint8).to(fabric.device)
        batch = Batch(image, target)

        def step() -> None:
            learner.learn(batch, config.training.learning_rate).read_loss()

        seconds = measure_seconds(step, fabric.device, STEPS)
        peak = peak_bytes(step, fabric.device) if fabric.device.type in ("cpu", "cuda") else None
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise ConfigError(
            f"a step of {patches} patches of {plan.patch} does not fit into the memory of {fabric.device}: lower "
            "training.batch, data.patch_voxels or network.base_channels"
        ) from error
    return Trial(patches, seconds, peak)
