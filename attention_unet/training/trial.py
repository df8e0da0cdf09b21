"""Measure time and memory of training steps on random images, without data."""

import dataclasses
from dataclasses import dataclass

import torch

from attention_unet.attention.cost import measure_seconds
from attention_unet.config import Config
from attention_unet.errors import ConfigError
from attention_unet.machine.devices import check_batch, devices_and_nodes, make_fabric
from attention_unet.machine.memory import out_of_memory, peak_bytes, reuse_freed_memory
from attention_unet.preparation.loading import Batch
from attention_unet.preparation.plan import Plan
from attention_unet.training.learner import Learner, build_network

STEPS = 3  # that are timed


@dataclass(frozen=True)
class Trial:
    """Time and memory of a training step.

    Attributes:
        patches: number of patches of the step in one process.
        seconds: median time of a step.
        bytes: peak memory of a step, beyond network and optimiser; None if the device does not report it.
    """

    patches: int
    seconds: float
    bytes: int | None


def try_step(config: Config, plan: Plan) -> Trial:
    """Time the steps of one process of a training on this machine.

    Raises:
        ConfigError: if the network is invalid, processes cannot share the batch equally, or memory is too small.
    """
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
