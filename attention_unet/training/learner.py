"""What is learned and how a step changes it: the network, its averaged twin and the optimiser."""

from collections.abc import Callable, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from attention_unet.config import TrainingConfig
from attention_unet.errors import ConfigError, ModelError, UserError
from attention_unet.inference.window_predictor import put_channels_last
from attention_unet.network import AttentionUNet, UNet
from attention_unet.preparation.plan import Plan
from attention_unet.training.checkpoint import LearnerState
from attention_unet.training.losses import PresenceLoss, SegmentationLoss


class Diverged(UserError):
    """The loss is not a number any more."""


class Learner:
    """A network in training; its parameters are the same in all processes after every step.

    Args:
        network: to train; moved to the device.
        config: optimiser, clipping and averaging.
        fabric: device, precision and processes.
        overlapping: whether a voxel may belong to several classes.
    """

    def __init__(self, network: UNet, config: TrainingConfig, fabric: Fabric, overlapping: bool) -> None:
        self.fabric = fabric
        self.clip_norm = config.clip_norm
        self.step = 0
        self.network = network.to(fabric.device)
        self._averaged = AveragedModel(self.network, multi_avg_fn=moving_average(config.average))
        put_channels_last(self._averaged)  # as it will be when it is loaded
        optimizer = AdamW(decayed_and_not(self.network, config.weight_decay), lr=config.learning_rate, fused=True)
        self._wrapped, self.optimizer = fabric.setup(self.network, optimizer)
        self._loss = SegmentationLoss(overlapping)
        self._tells_presence = bool(self.network.presence_tellers())
        self._presence = PresenceLoss(overlapping, config.presence_weight)

    @property
    def averaged(self) -> UNet:
        """The averaged network, which is what a training yields, in eval mode."""
        module = self._averaged.module.eval()
        if not isinstance(module, UNet):
            raise TypeError("the averaged network is not a UNet")
        return module

    def learn(self, image: Tensor, target: Tensor, learning_rate: float) -> float:
        """Take one step on a batch (B, C, *S) and (B, T, *S), on the device; return its loss.

        Raises:
            Diverged: if the gradient is not finite; nothing has been changed then.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        loss = self._loss_of(image, target)
        self.fabric.backward(loss)
        # The gradient is the same in all processes, so that all of them notice here, at the same step.
        norm = self.fabric.clip_gradients(
            self._wrapped, self.optimizer, max_norm=self.clip_norm, error_if_nonfinite=False
        )
        if norm is None or not torch.isfinite(norm):
            raise Diverged(
                f"the gradient is not finite at step {self.step + 1} (loss {loss.item():g}): lower "
                "training.learning_rate, or look for odd values in the images; the last saved state is kept"
            )
        self.optimizer.step()
        self._averaged.update_parameters(self.network)
        self.step += 1
        return float(loss.item())

    def _loss_of(self, image: Tensor, target: Tensor) -> Tensor:
        if not self._tells_presence:
            loss: Tensor = self._loss(self._wrapped(image), target)
            return loss
        logits, presence = self._wrapped(image, return_presence=True)
        total: Tensor = self._loss(logits, target) + self._presence(presence, target)
        return total

    def state(self) -> LearnerState:
        """All that a later ``restore`` needs to go on to the same numbers."""
        return LearnerState(
            self.step,
            self.network.state_dict(),
            self._averaged.state_dict(),
            self.optimizer.state_dict(),
            torch.get_rng_state(),
            self._device_generator().get_state() if self.fabric.device.type == "cuda" else None,
        )

    def restore(self, state: LearnerState) -> None:
        """Go back to a state.

        Raises:
            ModelError: if it is of another network.
        """
        self.step = state.step
        try:
            self.network.load_state_dict(state.network)
            self._averaged.load_state_dict(state.averaged)
            self.optimizer.load_state_dict(dict(state.optimizer))
            torch.set_rng_state(state.generator)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"the saved state is of another network ({reason}): start a new --run") from error
        if state.device_generator is not None and self.fabric.device.type == "cuda":
            self._device_generator().set_state(state.device_generator)

    def _device_generator(self) -> torch.Generator:
        """What random mechanisms draw from on a GPU."""
        return torch.cuda.default_generators[self.fabric.device.index or 0]


def build_network(plan: Plan) -> AttentionUNet:
    """The network of a plan, with new weights.

    Raises:
        ConfigError: if it cannot be built as configured.
    """
    try:
        return AttentionUNet(**plan.architecture)
    except ValueError as error:
        raise ConfigError(f"the network cannot be built as configured: {error}") from error


def decayed_and_not(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameters in two groups: weights decay; biases, scales and what else has one axis do not.

    Decay would close what a bias holds open, and pull what starts as an identity away from it.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def moving_average(keep: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Exponential moving average of weights that forgets its beginning: it keeps less of itself in early steps."""

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        share = min(keep, (1 + int(updates)) / (10 + int(updates)))
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight.to(average.dtype), 1 - share)

    return update
