"""Everything a training can be told: frozen, typed, documented, checked. A run saves it whole.

Heavy imports have no place here: ``--help`` reads this file.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from attention_unet.errors import ConfigError

EDGES_MM = (1e-3, 100.0)  # of voxels; what lies beyond is a mistake
MOST = (  # of the network: what lies beyond is a slip of the finger, and would take for ever to build
    ("base_channels", 1, 4096),
    ("max_channels", 1, 4096),
    ("convs", 1, 16),
    ("decoder_convs", 1, 16),
    ("max_levels", 2, 16),
)
MOST_OF_A_BUDGET = 1e9  # minutes, steps or epochs
Mechanism = str | list[Any] | dict[str | int, Any]


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
    folds: int = 5
    fold: int = 0
    split_seed: int = 12345
    splits: str | None = None
    subjects: str | None = None
    subject_pattern: str | None = None
    spacing_mm: list[float] | None = None
    patch: list[int] | None = None
    patch_voxels: int | None = None
    foreground_share: float = 0.33
    workers: int | None = None
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

    affine: float = 0.3
    rotation_degrees: float = 15.0
    scale: list[float] = field(default_factory=lambda: [0.85, 1.2])
    shift: float = 4.0
    bend: float = 1.5
    noise: float = 0.1
    blur: float = 0.1
    bias_field: float = 0.1
    brightness: float = 0.15
    contrast: float = 0.15
    gamma: float = 0.15
    low_resolution: float = 0.1
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
    base_channels: int | None = None
    max_channels: int = 320
    max_levels: int = 6
    block: Literal["plain", "residual"] = "plain"
    convs: int = 2
    decoder_convs: int = 1
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

    minutes: float | None = None
    steps: int | None = None
    epochs: float | None = None
    batch: int | None = None
    learning_rate: float = 2e-3
    warmup: float = 0.03
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    presence_weight: float = 0.2
    average: float = 0.999
    validations: int = 10
    checkpoint_minutes: float = 5.0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    nodes: int = 1
    seed: int = 0


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


SECTION = {DataConfig: "data", AugmentationConfig: "augmentation", NetworkConfig: "network", TrainingConfig: "training"}


def check(config: Config) -> None:
    """Check values that types cannot: ranges, and fields that must agree.

    Raises:
        ConfigError: naming the field, its value and what it should be.
    """
    data, augmentation, network, training = config.data, config.augmentation, config.network, config.training

    def demand(ok: bool, name: str, value: object, expected: str) -> None:
        if not ok:
            raise ConfigError(f"{name} is {value}: expected {expected}")

    for section in (data, augmentation, network, training):
        for f in dataclasses.fields(section):
            value = getattr(section, f.name)
            demand(value is not None or f.default is None, f"{SECTION[type(section)]}.{f.name}", "null", "a value")
            for number in value if isinstance(value, list) else [value]:
                finite = not isinstance(number, float) or math.isfinite(number)
                demand(finite, f"{SECTION[type(section)]}.{f.name}", value, "numbers that are finite")
    demand(data.folds >= 2, "data.folds", data.folds, "at least 2")
    demand(-1 <= data.fold < data.folds, "data.fold", data.fold, f"-1 (all cases) or 0 to {data.folds - 1}")
    for name, triple in (("data.spacing_mm", data.spacing_mm), ("data.patch", data.patch)):
        demand(triple is None or (len(triple) == 3 and min(triple) > 0), name, triple, "three positive numbers")
    expected = "1, or 3 or more: with 2 voxels, gradients in bfloat16 are wrong on CPUs (oneDNN)"
    demand(data.patch is None or 2 not in data.patch, "data.patch", data.patch, expected)
    demand(
        data.patch_voxels is None or data.patch_voxels >= 512, "data.patch_voxels", data.patch_voxels, "at least 512"
    )
    demand(0 <= data.foreground_share <= 1, "data.foreground_share", data.foreground_share, "0 to 1")
    demand(data.workers is None or data.workers >= 0, "data.workers", data.workers, "0 or more")
    for f in dataclasses.fields(augmentation):
        if f.type is float and f.name not in ("rotation_degrees", "shift", "bend"):
            value = getattr(augmentation, f.name)
            demand(0 <= value <= 1, f"augmentation.{f.name}", value, "a probability, 0 to 1")
    for name, voxels in (("shift", augmentation.shift), ("bend", augmentation.bend)):
        demand(voxels >= 0, f"augmentation.{name}", voxels, "0 or more voxels")
    low_high = augmentation.scale
    demand(
        len(low_high) == 2 and 0 < low_high[0] <= low_high[1],
        "augmentation.scale",
        low_high,
        "two positive numbers, the smaller first",
    )
    spacing_mm = data.spacing_mm or [1.0]
    low_mm, high_mm = EDGES_MM
    demand(
        low_mm <= min(spacing_mm) and max(spacing_mm) <= high_mm,
        "data.spacing_mm",
        data.spacing_mm,
        f"{low_mm:g} to {high_mm:g} mm",
    )
    for name, least, most in MOST:
        value = getattr(network, name)
        demand(value is None or least <= value <= most, f"network.{name}", value, f"{least} to {most}")
    budgets = [name for name in ("minutes", "steps", "epochs") if getattr(training, name) is not None]
    demand(len(budgets) <= 1, "the budget", " and ".join(budgets), "only one of training.minutes, .steps and .epochs")
    for name in budgets:
        value = getattr(training, name)
        demand(value <= MOST_OF_A_BUDGET, f"training.{name}", value, f"at most {MOST_OF_A_BUDGET:g}")
    for name in [
        *budgets,
        "batch",
        "devices",
        "nodes",
        "learning_rate",
        "clip_norm",
        "validations",
        "checkpoint_minutes",
    ]:
        value = getattr(training, name)
        demand(value is None or value > 0, f"training.{name}", value, "more than 0")
    demand(0 <= training.average < 1, "training.average", training.average, "0 to below 1")
    demand(0 <= training.warmup < 1, "training.warmup", training.warmup, "0 to below 1")
    demand(training.weight_decay >= 0, "training.weight_decay", training.weight_decay, "0 or more")
    demand(training.presence_weight >= 0, "training.presence_weight", training.presence_weight, "0 or more")
    for name, seed in (("data.split_seed", data.split_seed), ("training.seed", training.seed)):
        demand(0 <= seed < 2**32, name, seed, "0 to 4294967295")
