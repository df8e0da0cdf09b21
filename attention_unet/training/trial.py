"""A few steps of a training on noise: what each takes, before there is any data."""

import dataclasses
import statistics
import time
from dataclasses import dataclass

import torch

from attention_unet.config import Config
from attention_unet.errors import ConfigError
from attention_unet.machine.devices import check_batch, devices_and_nodes, make_fabric
from attention_unet.machine.memory import out_of_memory, peak_bytes, reuse_freed_memory
from attention_unet.preparation.plan import Plan
from attention_unet.training.learner import Learner, build_network

STEPS = 3


@dataclass(frozen=True)
class Trial:
    """What a step took.

    Attributes:
        patches: of the step; of several processes one has its share.
        seconds: median.
        bytes: most that was held beyond network and optimiser; None where that cannot be measured.
    """

    patches: int
    seconds: float
    bytes: int | None


def try_step(config: Config, plan: Plan) -> Trial:
    """Try the steps that one process of a training takes on this machine.

    Raises:
        ConfigError: if the network cannot be built, the batch not shared, or a step does not fit into memory.
    """
    devices, nodes = devices_and_nodes(config.training)
    check_batch(plan.batch, devices * nodes)
    patches = plan.batch // (devices * nodes)
    alone = dataclasses.replace(config.training, devices=1, nodes=1, batch=patches)
    reuse_freed_memory()
    fabric = make_fabric(alone)
    learner = Learner(build_network(plan), alone, fabric, plan.labels.overlapping)
    seen = [edge for axis, edge in enumerate(plan.patch) if axis != plan.slice_axis]
    masks = plan.labels.channels if plan.labels.overlapping else 1
    try:
        image = torch.randn(patches, len(plan.channels), *seen).to(fabric.device)
        target = torch.zeros(patches, masks, *seen, dtype=torch.uint8).to(fabric.device)

        def step() -> None:
            learner.learn(image, target, config.training.learning_rate)

        step()  # the first allocates and chooses kernels
        seconds = []
        for _ in range(STEPS):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        held = peak_bytes(step, fabric.device) if fabric.device.type in ("cpu", "cuda") else None
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise ConfigError(
            f"a step of {patches} patches of {plan.patch} does not fit into the memory of {fabric.device}: lower "
            "training.batch, data.patch_voxels or network.base_channels"
        ) from error
    return Trial(patches, statistics.median(seconds), held)
