"""The configuration of a training: frozen, typed, documented, checked. A run saves all of it.

Heavy imports have no place here: ``--help`` reads this file.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from attention_unet.errors import ConfigError

EDGES_MM = (1e-3, 100.0)  # range of voxel sizes; anything else is a mistake
MAX_BUDGET = 1e9  # minutes, steps or epochs
Mechanism = str | list[Any] | dict[str | int, Any]


@dataclass(frozen=True)
class Range:
    """Allowed values of a number, or of each number of a list.

    Attributes:
        least: lowest value.
        most: highest value.
        above: the value must be higher than this.
        below: the value must be lower than this.
        length: number of values of a list.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    length: int | None = None

    def contains(self, value: Any) -> bool:
        """Return whether a number, or a list of numbers, is allowed. None and other values always are."""
        numbers = value if isinstance(value, list) else [value]
        right = all(
            self.least <= n <= self.most and self.above < n < self.below for n in numbers if isinstance(n, int | float)
        )
        return right and (value is None or self.length in (None, len(numbers)))

    def __str__(self) -> str:
        """What is expected, in words."""
        count = f"{self.length} numbers, " if self.length else ""
        if self.above > -math.inf:
            return f"{count}more than {self.above:.10g}" + (
                f", at most {self.most:.10g}" if self.most < math.inf else ""
            )
        end = f" to {self.most:.10g}" if self.most < math.inf else f" to below {self.below:.10g}"
        return f"{count}{self.least:.10g}" + (end if min(self.most, self.below) < math.inf else " or more")


def ranged(default: Any, **limits: float) -> Any:
    """Return a dataclass field with a default and the range of its values."""
    value = {"default_factory": lambda: list(default)} if isinstance(default, list) else {"default": default}
    return field(**value, metadata={"range": Range(**limits)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class DataConfig:
    """Which cases, how they are brought to a common grid, and which patches are drawn from them.

    Attributes:
        root: folder of the dataset or of several datasets; $ATTENTION_UNET_DATA if not given, else ./data.
        dataset: name of the dataset's folder inside root; may be empty if root is the dataset itself.
        folds: number of cross-validation folds, drawn from the sorted subjects.
        fold: fold held out for validation, from 0; -1 trains on every case and validates on none. One subject in ten
            is then trained on only from four fifths of the budget: before, its cases show which classes are better off
            with their largest connected component alone.
        split_seed: seed of the folds; 12345 with 5 folds gives the folds that nnU-Net makes if each case is a subject.
        splits: file of splits to use in place of folds of our own: splits_final.json of nnU-Net, or splits.json of a
            run. In a configuration file, a path relative to that file.
        subjects: table with the columns case and subject. A subject is never both trained on and held out. If not
            given, subjects.csv in the dataset's folder; without one, each case is a subject. In a configuration file,
            a path relative to that file.
        subject_pattern: regular expression on case ids whose first group is the subject, such as "(sub-[^_]+)_".
        spacing_mm: common voxel size along left-right, back-front, down-up (RAS+ order); planned if not given.
        patch: voxels of a training patch and of a prediction window on the same axes; planned if not given.
        patch_voxels: the size to plan a patch for, in voxels; planned from machine and budget if not given.
        foreground_share: share of patches centred on a voxel of a class, each class being equally likely.
        workers: processes that read patches; 0 reads them in the training process. If not given, 4 per GPU, and 0
            on a CPU, where they would only slow the network down.
        cache: folder for preprocessed cases; "cache" beside the run folder if not given.
    """

    root: str | None = None
    dataset: str = ""
    folds: int = ranged(5, least=2)
    fold: int = ranged(0, least=-1)
    split_seed: int = ranged(12345, least=0, below=2**32)
    splits: str | None = None
    subjects: str | None = None
    subject_pattern: str | None = None
    spacing_mm: list[float] | None = ranged(None, least=EDGES_MM[0], most=EDGES_MM[1], length=3)
    patch: list[int] | None = ranged(None, above=0, length=3)
    patch_voxels: int | None = ranged(None, least=512)
    foreground_share: float = ranged(0.33, least=0, most=1)
    workers: int | None = ranged(None, least=0)
    cache: str | None = None


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of training patches: a probability for each, 0 for never, and its range.

    Attributes:
        affine: probability of a random rotation, scaling, shift and bend.
        rotation_degrees: largest rotation about every axis (about the slice axis only, for 2-D networks).
        scale: smallest and largest zoom.
        shift: largest shift along every axis, in voxels of the finest axis; without one, a case smaller than the patch
            always lies in its middle.
        bend: elastic deformation: standard deviation, in voxels of the finest axis, of the shifts of control points
            eight such voxels apart.
        noise: probability of Gaussian noise of up to 0.3 standard deviations of the image.
        blur: probability of Gaussian blur of 0.5 to 1 voxel.
        bias_field: probability of a smooth multiplicative field, as of a receive coil.
        brightness: probability of a factor of 0.75 to 1.25 on all values.
        contrast: probability of a factor of 0.75 to 1.25 about the mean, within the range of the patch.
        gamma: probability of a gamma curve of exponent 0.7 to 1.5.
        low_resolution: probability of sampling down by up to a half and back up.
        flip_axes: axes to mirror with probability a half, of "left-right", "back-front", "down-up"; none by default,
            since a mirrored patient is not always a possible patient.
    """

    affine: float = ranged(0.3, least=0, most=1)
    rotation_degrees: float = 15.0
    scale: list[float] = ranged([0.85, 1.2], above=0, length=2)
    shift: float = ranged(4.0, least=0)
    bend: float = ranged(1.5, least=0)
    noise: float = ranged(0.1, least=0, most=1)
    blur: float = ranged(0.1, least=0, most=1)
    bias_field: float = ranged(0.1, least=0, most=1)
    brightness: float = ranged(0.15, least=0, most=1)
    contrast: float = ranged(0.15, least=0, most=1)
    gamma: float = ranged(0.15, least=0, most=1)
    low_resolution: float = ranged(0.1, least=0, most=1)
    flip_axes: list[Literal["left-right", "back-front", "down-up"]] = field(default_factory=list)


@dataclass(frozen=True)
class AttentionConfig:
    """Which attention sits where.

    A mechanism is given by its name ("identity" is none), several in sequence by a list of names, a wrapper by a
    mapping such as {parallel: [se, sse]}; {1: gate, 2: cross} gives each level its own. `attention-unet attention`
    lists them all.

    Attributes:
        skips: attention on the skips.
        encoder: attention in the blocks of the encoder, after the last normalisation (gct: before each convolution);
            with channel attention, blocks use group normalisation, eight channels a group.
        decoder: attention in the blocks of the decoder, at the same place.
        bottleneck: attention after the coarsest block.
        levels: levels with attention on skip, encoder and decoder, 0 being the finest; all but the finest if not given.
            The coarsest level has no skip.
        init: start "open", as the identity or near it, or as published in the "paper".
    """

    skips: Mechanism = "gate"
    encoder: Mechanism = "identity"
    decoder: Mechanism = "identity"
    bottleneck: Mechanism = "identity"
    levels: list[int] | None = None
    init: Literal["open", "paper"] = "open"


@dataclass(frozen=True)
class NetworkConfig:
    """The U-Net.

    Attributes:
        dims: 3 for volumes; 2 for slices across the axis of the largest spacing. Either predicts whole volumes.
        base_channels: features of the finest level; each coarser level has twice as many. If not given, 16 on a CPU
            and 32 on a GPU.
        max_channels: the most features a level may have.
        max_levels: the most levels the plan may use.
        block: plain or residual blocks.
        convs: convolutions of each block of the encoder.
        decoder_convs: convolutions of each block of the decoder.
        deep_supervision: let coarser decoder levels learn from the label too.
    """

    dims: Literal[2, 3] = 3
    base_channels: int | None = ranged(None, least=1, most=4096)
    max_channels: int = ranged(320, least=1, most=4096)
    max_levels: int = ranged(6, least=2, most=16)
    block: Literal["plain", "residual"] = "plain"
    convs: int = ranged(2, least=1, most=16)
    decoder_convs: int = ranged(1, least=1, most=16)
    deep_supervision: bool = True


@dataclass(frozen=True)
class TrainingConfig:
    """The budget, the optimiser and the machine.

    Attributes:
        minutes: budget by the clock, validations included, preparation of the cases not.
        steps: budget in optimiser steps.
        epochs: budget in epochs of one patch per training case; 100 if no budget is given.
        batch: patches a step, over all devices. If not given, 2 volumes or 8 slices on a CPU, up to 16 on a GPU.
        learning_rate: of AdamW, from the end of the warm-up to that of the training.
        warmup: share of the budget over which the learning rate rises.
        weight_decay: of AdamW.
        clip_norm: largest norm of the gradient.
        presence_weight: of the loss by which `encoding`, on a skip or at the bottleneck, learns the classes of a patch.
        average: largest decay of the exponential moving average of the weights, a step; 0 turns averaging off.
        validations: whole-volume validations over the budget; the last is after the last step. Each is timed to
            reserve time for the last, so that a single one overruns a budget in minutes.
        checkpoint_minutes: longest time between two saved states.
        precision: "auto" is bfloat16 where the hardware computes in it, else float32.
        accelerator: "auto", "cpu", "cuda" or "mps".
        devices: processes on this machine, one a device; under torchrun, what it started.
        nodes: machines; under torchrun, what it started.
        seed: fixes weights, order, patches and augmentation.
    """

    minutes: float | None = ranged(None, above=0, most=MAX_BUDGET)
    steps: int | None = ranged(None, above=0, most=MAX_BUDGET)
    epochs: float | None = ranged(None, above=0, most=MAX_BUDGET)
    batch: int | None = ranged(None, above=0)
    learning_rate: float = ranged(2e-3, above=0)
    warmup: float = ranged(0.03, least=0, below=1)
    weight_decay: float = ranged(0.1, least=0)
    clip_norm: float = ranged(1.0, above=0)
    presence_weight: float = ranged(0.2, least=0)
    average: float = ranged(0.999, least=0, below=1)
    validations: int = ranged(10, above=0)
    checkpoint_minutes: float = ranged(5.0, above=0)
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = ranged(1, above=0)
    nodes: int = ranged(1, above=0)
    seed: int = ranged(0, least=0, below=2**32)


@dataclass(frozen=True)
class Config:
    """A whole training."""

    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Mapping[str, Any]]) -> "Config":
        """Inverse of ``dataclasses.asdict``."""
        default = cls()
        return cls(**{f.name: type(getattr(default, f.name))(**plain[f.name]) for f in dataclasses.fields(cls)})


def check(config: Config) -> None:
    """Check values that types cannot: ranges, and fields that must agree.

    Raises:
        ConfigError: naming the field, its value and what is expected.
    """

    def demand(ok: bool, name: str, value: object, expected: object) -> None:
        if not ok:
            raise ConfigError(f"{name} is {value}: expected {expected}")

    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        for f in dataclasses.fields(values):
            name, value = f"{section.name}.{f.name}", getattr(values, f.name)
            demand(value is not None or f.default is None, name, "null", "a value")
            numbers = value if isinstance(value, list) else [value]
            finite = all(math.isfinite(number) for number in numbers if isinstance(number, float))
            demand(finite, name, value, "numbers that are finite")
            allowed = f.metadata.get("range", Range())
            demand(allowed.contains(value), name, value, allowed)
    data, training, scale = config.data, config.training, config.augmentation.scale
    demand(data.fold < data.folds, "data.fold", data.fold, f"-1 (all cases) or 0 to {data.folds - 1}")
    expected = "1, or 3 or more: with 2 voxels, gradients in bfloat16 are wrong on CPUs (oneDNN)"
    demand(data.patch is None or 2 not in data.patch, "data.patch", data.patch, expected)
    demand(scale[0] <= scale[1], "augmentation.scale", scale, "the smaller number first")
    budgets = [name for name in ("minutes", "steps", "epochs") if getattr(training, name) is not None]
    demand(len(budgets) <= 1, "the budget", " and ".join(budgets), "only one of training.minutes, .steps and .epochs")
