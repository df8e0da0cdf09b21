"""The configuration of a training: frozen, typed, documented, checked. A run saves all of it.

Heavy imports have no place here: ``--help`` reads this file.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from attention_unet.errors import ConfigError
from attention_unet.places import MAX_LEVELS
from attention_unet.ranges import Range, fits, in_words, ranged

EDGES_MM = (1e-3, 100.0)  # range of voxel sizes; anything else is a mistake
MAX_BUDGET = 1e9  # minutes or steps
DEFAULT_MINUTES = 60.0
Mechanism = str | list[Any] | dict[str | int, Any]


@dataclass(frozen=True)
class DataConfig:
    """The cases, their common grid, and the patches that are drawn from them.

    Attributes:
        root: folder of the dataset or of several datasets, relative to the current folder; default
            $ATTENTION_UNET_DATA, otherwise ./data.
        dataset: name of the dataset's folder inside root; may be empty if root is the dataset itself.
        bids_suffixes: for a BIDS dataset, the suffix of the scans of each channel, such as [T1w]. Its participants are
            the subjects.
        bids_labels: pattern of the paths of label maps in a BIDS dataset; * stands for any text, also with /.
        folds: number of cross-validation folds, drawn from the sorted subjects.
        fold: fold to hold out for validation, from 0. -1 trains on all cases and validates on none. With ten or more
            subjects, a tenth of the cases, at most 20, then joins the training after 80 % of the budget. Until then
            they are held out, to judge the locator and to choose the overlap of windows and the classes whose small
            components are dropped.
        split_seed: seed of the folds; 12345 with 5 folds gives the folds of nnU-Net if each case is a subject.
        splits: file of splits, used instead of computed folds: splits_final.json of nnU-Net, or splits.json of a run.
            In a configuration file, a path relative to that file.
        subjects: table with the columns case and subject. A subject is never both trained on and held out. Default:
            subjects.csv in the dataset's folder; if it does not exist, each case is a subject. In a configuration file,
            a path relative to that file.
        subject_pattern: regular expression on case ids whose first group is the subject, such as "(sub-[^_]+)_".
        spacing_mm: voxel size along left-right, back-front, down-up (RAS+ axes); default: planned.
        patch: size of a training patch and of a prediction window in voxels along left-right, back-front, down-up;
            each is 1, or at least 3; default: planned.
        patch_voxels: number of voxels of a planned patch; default: from machine and budget.
        foreground_share: share of patches whose centre is a foreground voxel; all classes of the case are equally
            likely.
        balance_classes: centre these patches on all classes of the dataset equally often, for classes that few cases
            have; otherwise each case is used equally often.
        locate: train a locator first. `predict` then visits only the part of a scan that it finds, and about 60 % of
            the training patches come from this part. It is tried if there are held-out cases, the box of all structures
            is at most 40 % of a typical scan of more than 131,072 voxels, all cases are annotated completely, the
            budget is at least 5 minutes or 1,000 steps, and a patch sees less than half of a scan in the scans' voxels,
            or patch and spacing_mm are given.
        workers: processes that read patches; 0 reads them in the training process. Default: 4 per GPU, 0 on a CPU.
        cache: folder for preprocessed cases; default "cache" beside the run folder.
    """

    root: str | None = None
    dataset: str = ""
    bids_suffixes: list[str] | None = None
    bids_labels: str = "derivatives/*_dseg.nii*"
    folds: int = ranged(5, least=2, most=10_000)
    fold: int = ranged(0, least=-1)
    split_seed: int = ranged(12345, least=0, below=2**32)
    splits: str | None = None
    subjects: str | None = None
    subject_pattern: str | None = None
    spacing_mm: list[float] | None = ranged(None, least=EDGES_MM[0], most=EDGES_MM[1], length=3)
    patch: list[int] | None = ranged(None, above=0, length=3)
    patch_voxels: int | None = ranged(None, least=512)
    foreground_share: float = ranged(0.33, least=0, most=1)
    balance_classes: bool = False
    locate: bool = True
    workers: int | None = ranged(None, least=0)
    cache: str | None = None


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of training patches; most fields are the probability of a change, and 0 turns it off.

    The probabilities of ``affine`` and of changes of intensity rise from 0, and are reached when the voxels of a case
    were trained on 12 times on average. From the start, those of intensity are at least 0.5 in synthetic images, unless
    they are 0. Strengths are drawn for each channel, but ``low_resolution`` is the same for all.

    Attributes:
        affine: probability of rotation, scaling, shift and elastic deformation.
        rotation_degrees: largest rotation about every axis; of 2-D networks and thick slices, within the slice only.
        scale: range of the zoom, drawn for each axis; 1.2 enlarges by 20 %.
        shift: largest shift along every axis, in voxels of the finest axis. With 0, a case smaller than the patch is
            always centred in it.
        bend: strength of the elastic deformation: standard deviation of the control-point displacements, in voxels of
            the finest axis. Control points are 8 such voxels apart.
        noise: probability of Gaussian noise with a standard deviation of up to 0.3 (images are z-scored).
        blur: probability of Gaussian blur with a standard deviation of 0.5 to 1 voxel. If it is not 0, it is at least
            0.25 for scans whose zeros do not count, such as skull-stripped heads.
        bias_field: probability of a smooth multiplicative field, as of a receive coil.
        brightness: probability of a factor of 0.75 to 1.25 on all values.
        contrast: probability of a factor of 0.75 to 1.25 about the mean, within the range of the patch.
        gamma: probability of a gamma curve of exponent 0.7 to 1.5.
        low_resolution: probability of downsampling by up to a half and back; for skull-stripped heads as with blur.
        drop_channel: probability that a channel is missing, so that scans may lack it in predictions; at least one
            channel stays.
        synthesize: share of the patches whose image is synthesized from the label map, with a random contrast for each
            structure and for clusters of the other tissue, so that the network learns any contrast.
        flip_axes: axes to flip with probability 0.5: "left-right", "back-front", "down-up". Default: none, because a
            flip swaps left and right organs.
    """

    affine: float = ranged(0.8, least=0, most=1)
    rotation_degrees: float = ranged(20.0, least=0, most=180)
    scale: list[float] = ranged([0.8, 1.25], above=0, length=2)
    shift: float = ranged(4.0, least=0)
    bend: float = ranged(1.5, least=0)
    noise: float = ranged(0.15, least=0, most=1)
    blur: float = ranged(0.1, least=0, most=1)
    bias_field: float = ranged(0.1, least=0, most=1)
    brightness: float = ranged(0.15, least=0, most=1)
    contrast: float = ranged(0.15, least=0, most=1)
    gamma: float = ranged(0.3, least=0, most=1)
    low_resolution: float = ranged(0.2, least=0, most=1)
    drop_channel: float = ranged(0.0, least=0, below=1)
    synthesize: float = ranged(0.0, least=0, most=1)
    flip_axes: list[Literal["left-right", "back-front", "down-up"]] = field(default_factory=list)


@dataclass(frozen=True)
class AttentionConfig:
    """The attention at each place of the network. `attention-unet attention` lists the mechanisms.

    Write `gate` for one mechanism, `[se, gate]` for one after another, `{parallel: [se, sse]}` for a wrapper,
    `{1: gate, 2: cross}` for one per level, `{se: {reduction: 4}}` for options, `identity` for no attention.

    Attributes:
        skips: attention on the skips.
        encoder: attention in the encoder blocks, after the last normalisation (`gct`: before each convolution). With
            channel attention, blocks use group normalisation with eight channels per group.
        decoder: attention in the decoder blocks, at the same place.
        bottleneck: attention after the coarsest block.
        inputs: attention on the image, between its channels: which sequence counts.
        levels: levels with attention on skip, encoder and decoder; 0 is the finest; default: all but the finest. The
            coarsest level has no skip.
        init: initial weights: "open" starts as the identity or near it; "paper" starts as published.
    """

    skips: Mechanism = "gate"
    encoder: Mechanism = "identity"
    decoder: Mechanism = "identity"
    bottleneck: Mechanism = "identity"
    inputs: Mechanism = "identity"
    levels: list[int] | None = None
    init: Literal["open", "paper"] = "open"


@dataclass(frozen=True)
class NetworkConfig:
    """The size and the kind of the U-Net.

    Attributes:
        dims: 3 for volumes; 2 for slices. Slices are across the axis with 1 voxel in `data.patch`; without a patch,
            across an axis along which cases have 1 voxel, or that of the largest spacing. Both predict whole volumes.
        base_channels: features of the finest level; each coarser level has twice as many. Default: 16 on a CPU, 32 on a
            GPU.
        max_channels: largest number of features of a level.
        max_levels: largest number of levels.
        block: plain or residual blocks.
        convs: convolutions of each encoder block.
        decoder_convs: convolutions of each decoder block.
        norm: normalisation of all blocks, by instance or in groups of eight channels. Default: by instance, and in
            groups where attention weights channels. Set it to compare such attention with others.
        deep_supervision: train coarser decoder levels on the label, too.
    """

    dims: Literal[2, 3] = 3
    base_channels: int | None = ranged(None, least=1, most=4096)
    max_channels: int = ranged(320, least=1, most=4096)
    max_levels: int = ranged(6, least=2, most=MAX_LEVELS)
    block: Literal["plain", "residual"] = "plain"
    convs: int = ranged(2, least=1, most=16)
    decoder_convs: int = ranged(1, least=1, most=16)
    norm: Literal["instance", "group"] | None = None
    deep_supervision: bool = True


@dataclass(frozen=True)
class TrainingConfig:
    """The budget, the optimiser and the machine.

    Attributes:
        minutes: budget by the clock, with validations, without preprocessing of the cases; default 60 if no budget is
            given.
        steps: budget in optimiser steps.
        batch: patches per step, over all devices. Default: 2 volumes or 8 slices on a CPU, up to 16 on a GPU.
        learning_rate: learning rate of Muon and AdamW. It rises linearly during the warm-up, and falls to
            a hundredth over the last half of the budget.
        warmup: share of the budget over which the learning rate rises.
        weight_decay: weight decay of Muon; that of AdamW is a twentieth of it.
        clip_norm: largest norm of the gradient.
        presence_weight: weight of the loss for the presence of classes; only with the attention `encoding` on a skip or
            at the bottleneck.
        average: decay per step of the exponential moving average of the weights; early steps use a smaller decay; 0
            turns it off.
        validations: number of validations on held-out cases, each whole or as far as a locator finds it, with windows
            that overlap by 0.25 and all components kept. The last one follows the last step and takes all held-out
            cases. In a budget in minutes, all before the last take about a twenty-fifth of the time, with as many
            cases as that allows; the last one stops after 5 % of it. If a single case is expected to take longer than a
            twenty-fifth of the time, there is only the last.
        checkpoint_minutes: longest time between two saved states.
        precision: "auto" is bfloat16 where the hardware computes faster in it, otherwise float32.
        accelerator: "auto" (an NVIDIA GPU if there is one that works, otherwise the CPU), "cpu", "cuda" or "mps".
        devices: number of devices on this machine, one process per device; torchrun overrides it.
        nodes: number of machines; torchrun overrides it.
        seed: seed of weights, order, patches and augmentation.
        start_from: model to start from instead of new weights: a run folder, a model file, or the name of a model of
            this package. Network, attention and, by default, voxel size are those of the model. In a configuration
            file, a path relative to that file.
        fixed_encoder: share of the budget over which the encoder keeps the weights of the model to start from.
    """

    minutes: float | None = ranged(None, above=0, most=MAX_BUDGET)
    steps: int | None = ranged(None, above=0, most=MAX_BUDGET)
    batch: int | None = ranged(None, above=0)
    learning_rate: float = ranged(2e-3, above=0)
    warmup: float = ranged(0.03, least=0, below=1)
    weight_decay: float = ranged(0.5, least=0)
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
    start_from: str | None = None
    fixed_encoder: float = ranged(0.0, least=0, most=1)

    @property
    def budget_minutes(self) -> float | None:
        """The budget in minutes; None for one in steps."""
        return DEFAULT_MINUTES if self.minutes is None and self.steps is None else self.minutes


@dataclass(frozen=True)
class Config:
    """The configuration of a training.

    Raises:
        ConfigError: if a value is out of its range, naming the field, its value and what is expected.

    Example:
        >>> Config(attention=AttentionConfig(skips=["gate", "spatial"])).training.precision
        'auto'
    """

    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Check values that types cannot: ranges, and fields that must agree."""

        def demand(ok: bool, name: str, value: object, expected: object) -> None:
            if not ok:
                raise ConfigError(f"{name} is {value}: expected {expected}")

        for section in dataclasses.fields(self):
            values = getattr(self, section.name)
            hints = get_type_hints(type(values))
            for f in dataclasses.fields(values):
                name, value = f"{section.name}.{f.name}", getattr(values, f.name)
                demand(fits(value, hints[f.name]), name, repr(value), in_words(hints[f.name]))
                allowed = f.metadata.get("range", Range())
                demand(allowed.contains(value), name, value, allowed)
        data, training, scale = self.data, self.training, self.augmentation.scale
        demand(data.fold < data.folds, "data.fold", data.fold, f"-1 (all cases) or 0 to {data.folds - 1}")
        expected = "1, or 3 or more: with 2 voxels, gradients in bfloat16 are wrong on CPUs (oneDNN)"
        demand(data.patch is None or 2 not in data.patch, "data.patch", data.patch, expected)
        demand(scale[0] <= scale[1], "augmentation.scale", scale, "the smaller number first")
        both = training.minutes is not None and training.steps is not None
        useless = training.fixed_encoder and not training.start_from
        demand(not useless, "training.fixed_encoder", training.fixed_encoder, "0 without training.start_from")
        demand(not both, "the budget", "minutes and steps", "only one of training.minutes and training.steps")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Mapping[str, Any]]) -> "Config":
        """Return the inverse of ``dataclasses.asdict``."""
        return cls(**{name: section(**plain[name]) for name, section in get_type_hints(cls).items()})
