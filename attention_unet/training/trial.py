"""A few steps of a training on noise: what each takes, before there is any data."""

import statistics
import time

import torch

from attention_unet.attention.cost import peak_bytes
from attention_unet.config import Config
from attention_unet.data.plan import Plan
from attention_unet.devices import make_fabric
from attention_unet.network import AttentionUNet
from attention_unet.training.learner import Learner

STEPS = 3


def try_step(config: Config, plan: Plan) -> tuple[float, int]:
    """Seconds of a training step on this machine, and the most bytes that it held beyond network and optimiser."""
    fabric = make_fabric(config.training)
    learner = Learner(AttentionUNet(**plan.architecture), config.training, fabric, plan.labels.overlapping)
    seen = [edge for axis, edge in enumerate(plan.patch) if axis != plan.slice_axis]
    image = torch.randn(plan.batch, len(plan.channels), *seen)
    target = torch.zeros(plan.batch, plan.labels.channels if plan.labels.overlapping else 1, *seen, dtype=torch.uint8)

    def step() -> None:
        learner.learn(image, target, config.training.learning_rate)

    step()  # the first allocates and chooses kernels
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), peak_bytes(step, fabric.device)
