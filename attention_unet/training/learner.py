"""Train a network step by step, with its averaged copy and its optimiser."""

import copy
import math
from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from attention_unet.attention import Attention
from attention_unet.config import TrainingConfig
from attention_unet.errors import ConfigError, ModelError, UserError
from attention_unet.inference.window_predictor import place_network
from attention_unet.network import AttentionUNet, NetworkOutput, UNet
from attention_unet.preparation.loading import Batch
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import as_configuration_error
from attention_unet.training.added_attention import check_added_attention
from attention_unet.training.checkpoint import LearnerState
from attention_unet.training.losses import PresenceLoss, SegmentationLoss
from attention_unet.training.optimizer import MuonAndAdamW

MEMORY = 30  # averaged weights are those of about the last thirtieth of the steps; docs/experiments.md, 2026-11-26


class Diverged(UserError):
    """Error: the gradient is not finite."""


class Step(NamedTuple):
    """Step that a GPU may still compute: its number from 1, and its loss and gradient norm on the device."""

    number: int
    loss: Tensor
    norm: Tensor

    def read_loss(self) -> float:
        """Wait for the step and return its loss. If the gradient is not finite, weights are lost: raise Diverged."""
        loss, norm = torch.stack([self.loss, self.norm]).tolist()  # one wait, not two
        if not math.isfinite(norm):
            raise Diverged(
                f"the gradient is not finite at step {self.number} (loss {loss:g}): lower training.learning_rate, or "
                "check the images for extreme values (and an attention of your own for NaN); the last saved state is "
                "kept"
            )
        return float(loss)


class Learner:
    """Network in training. After every step its parameters are the same in all processes.

    ``averaged`` is the averaged network in eval mode, the result of a training; ``step`` counts the steps taken.
    """

    def __init__(
        self, network: UNet, config: TrainingConfig, fabric: Fabric, overlapping: bool, ignoring: bool = False
    ) -> None:
        self.fabric = fabric
        self.clip_norm = config.clip_norm
        self.step = 0
        self.network = network.to(fabric.device)
        self.averaged, self._keep = place_network(copy.deepcopy(self.network), fabric.device).eval(), config.average
        # Collected once: on a GPU, searching the modules at every step would take longer than averaging.
        self._averages, self._weights = (tuple(each.parameters()) for each in (self.averaged, self.network))
        self._wrapped, self.optimizer = fabric.setup(self.network, MuonAndAdamW(self.network, config))
        self._loss = SegmentationLoss(overlapping, ignoring)
        self._presence = PresenceLoss(overlapping, config.presence_weight, ignoring)
        self._seed = config.seed

    def learn(self, batch: Batch, learning_rate: float, fixed_encoder: bool = False) -> Step:
        """Take one step on a batch on the device, without waiting for a GPU.

        With ``fixed_encoder`` the weights of the encoder do not change.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        self._seed_noise()
        loss = self._loss_of(batch)
        self.fabric.backward(loss)
        if fixed_encoder:
            self.network.encoder.zero_grad()  # the optimiser leaves weights without gradient as they are
        # All processes have the same gradient, so all of them notice one that is not finite at the same step.
        norm = self.fabric.clip_gradients(
            self._wrapped, self.optimizer, max_norm=self.clip_norm, error_if_nonfinite=False
        )
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return Step(self.step, loss.detach(), cast(Tensor, norm).detach())

    @torch.no_grad()
    def _update_average(self) -> None:
        """Update the exponential moving average of the weights.

        The memory is a thirtieth of the steps so far, until it is as long as configured: the weights of a short
        training change fast to its end. ``AveragedModel`` of torch would make a GPU wait, because it keeps the
        number of updates there.
        """
        share = min(self._keep, (1 + self.step) / (MEMORY + self.step)) if self.step else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1 - share)
        for average, value in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
            if average.is_floating_point():  # statistics of a batch normalisation
                average.lerp_(value, 1 - share)
            else:
                average.copy_(value)

    def _loss_of(self, batch: Batch) -> Tensor:
        output: NetworkOutput = self._wrapped(batch.image, full_output=True)
        loss: Tensor = self._loss(output.logits, batch.target, batch.annotated)
        if not output.presence:
            return loss
        presence: Tensor = self._presence(output.presence, batch.target, batch.annotated)
        return loss + presence

    def state(self) -> LearnerState:
        """Return the state from which ``restore`` continues with the same numbers."""
        return LearnerState(
            self.step,
            self.network.state_dict(),
            self.averaged.state_dict(),
            self.optimizer.state_dict(),
            torch.get_rng_state(),
            torch.cuda.get_rng_state(self.fabric.device) if self.fabric.device.type == "cuda" else None,
        )

    def restore(self, state: LearnerState) -> None:
        """Restore a state. Raise ModelError if it is of another network."""
        self.step = state.step
        try:
            self.network.load_state_dict(state.network)
            self.averaged.load_state_dict(state.averaged)
            self.optimizer.load_state_dict(dict(state.optimizer))
            torch.set_rng_state(state.generator)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"the saved state is of another network, or of an earlier version ({reason}): start a new --run"
            ) from error
        if state.device_generator is not None and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(state.device_generator, self.fabric.device)

    def _seed_noise(self) -> None:
        """Give each process other random numbers: hard attention draws noise.

        The first keeps those of a training in one process.
        """
        if self.fabric.global_rank:
            mixed = np.random.SeedSequence([self._seed, self.fabric.global_rank, self.step])
            torch.manual_seed(int(mixed.generate_state(1)[0]))


def build_network(plan: Plan) -> AttentionUNet:
    """Return the network of a plan with new weights.

    All layers outside of attention start with the weights of the network without attention under the same seed, so that
    trainings with different attention can be compared in pairs.

    Raise ConfigError if the configured network is invalid, a buffer of it is not finite, or a mechanism of another
    package does not return what it should.
    """
    with as_configuration_error():
        network = AttentionUNet(plan.architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed())
        plain = AttentionUNet(plan.architecture.without_attention())
    for layer, start in zip(_layers(network), _layers(plain), strict=True):
        layer.load_state_dict(start.state_dict())
    if infinite := [name for name, buffer in network.named_buffers() if not buffer.isfinite().all()]:
        raise ConfigError(
            f"{infinite[0]}: a mechanism has values that are not finite in a buffer, which is averaged over the steps: "
            "use a large number instead, such as -1e4, or compute it in forward"
        )
    with as_configuration_error():
        check_added_attention(network, plan)
    return network


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers with parameters outside of attention."""
    for child in module.children():
        if not isinstance(child, Attention):
            yield from _layers(child) if [*child.children()] else [child] if [*child.parameters()] else []
