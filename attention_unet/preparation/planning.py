"""Plan a training from its data: common voxel size, patch and network."""

import dataclasses
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from attention_unet.config import AttentionConfig, Config, NetworkConfig
from attention_unet.dataset.cases import Dataset
from attention_unet.errors import ConfigError, first_few
from attention_unet.machine.devices import Machine
from attention_unet.network.architecture import Architecture
from attention_unet.preparation.fingerprint import Fingerprint
from attention_unet.preparation.levels import check_levels, plan_levels, smallest_patch
from attention_unet.preparation.patch_size import choose_slice_axis, fit_patch, round_patch
from attention_unet.preparation.plan import AXES, Plan
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.preparation.region import may_locate, region_extent
from attention_unet.preparation.sizing import check_memory, choose_batch, choose_size
from attention_unet.preparation.spacing import (
    SEEN,
    SEEN_AT_LEAST,
    SEEN_OF_PART,
    check_slices,
    choose_spacing,
    configured_spacing,
    describe_loss,
    scan_spacing,
    typical_extent,
    typical_grid,
)

log = logging.getLogger(__name__)

SIDE = re.compile(r"(?<![a-z])(left|right|lh|rh|l|r)(?![a-z])")
OTHER_SIDE = {"left": "right", "right": "left", "lh": "rh", "rh": "lh", "l": "r", "r": "l"}


def fill_from_plan(config: Config, plan: Plan) -> Config:
    """Fill open fields of a configuration from a plan, so that it gives the same plan on any machine.

    The channels of a network that starts from a model stay open: they are those of the model.
    """
    data, network, training = config.data, config.network, config.training
    channels = network.base_channels or (None if training.start_from else plan.architecture.channels[0])
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            data,
            spacing_mm=data.spacing_mm or list(plan.preprocessing.spacing_mm),
            patch=data.patch or list(plan.patch),
            locate=data.locate and plan.region_mm is not None,
        ),
        network=dataclasses.replace(network, base_channels=channels),
        training=dataclasses.replace(training, batch=training.batch or plan.batch),
    )


def configure_like(config: Config, model: Plan) -> Config:
    """Return a configuration with the network, the attention and, if it is left open, the voxel size of a model.

    Raise ConfigError if a field is neither at its default nor as in the model.
    """
    architecture = dataclasses.asdict(model.architecture)
    channels = architecture["channels"]
    architecture |= {
        "base_channels": channels[0],
        "max_channels": max(config.network.max_channels, max(channels)),
        "max_levels": max(config.network.max_levels, len(channels)),
    }
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, spacing_mm=config.data.spacing_mm or list(model.preprocessing.spacing_mm)
        ),
        network=NetworkConfig(**_fields_of("network", config.network, architecture)),
        attention=AttentionConfig(**_fields_of("attention", config.attention, architecture)),
    )


def _fields_of(section: str, given: NetworkConfig | AttentionConfig, architecture: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a section, with the values of an architecture."""
    fields = {}
    for field in dataclasses.fields(given):
        value, of_model = getattr(given, field.name), architecture[field.name]
        if value != field.default and _plain(value) != _plain(of_model):
            raise ConfigError(
                f"{section}.{field.name} is {value}: the model of training.start_from has {of_model}: leave the field "
                "out, or train without training.start_from"
            )
        fields[field.name] = of_model
    return fields


def _plain(value: object) -> object:
    """Return a value as JSON holds it: levels are then texts, and sequences lists."""
    return json.loads(json.dumps(value))


@contextmanager
def as_configuration_error() -> Iterator[None]:
    """Turn the error of an architecture that cannot be built into one of the configuration."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(
            f"the network cannot be built as configured: {error}; change the fields of network or attention"
        ) from error


def make_plan(
    config: Config,
    dataset: Dataset,
    fingerprint: Fingerprint,
    machine: Machine,
    whole_scans: bool = False,
    start: Plan | None = None,
) -> Plan:
    """Plan everything that the configuration leaves open: for whole scans, or for the part that a locator finds.

    With the plan of a model to start from, the network is that of the model. Raise ConfigError if no network can be
    built as configured.
    """
    given = config.data.patch and config.data.spacing_mm
    if start:
        config = configure_like(config, start)
    base_channels, patch_voxels = choose_size(config, machine, dataset.labels.channels)
    voxels = int(np.prod(config.data.patch)) if config.data.patch else patch_voxels
    extent_mm, scans_mm = typical_extent(fingerprint), np.array(scan_spacing(fingerprint))
    slice_axis = start.slice_axis if start else None
    if config.network.dims == 2 and (slice_axis is None or config.data.patch):
        spacing = configured_spacing(fingerprint, config.data.spacing_mm or scans_mm.tolist())
        slice_axis = choose_slice_axis(config.data.patch, extent_mm / spacing, spacing)
        if fingerprint.stack and not start and not config.data.patch:
            slice_axis = fingerprint.stack.axis  # so that a configuration that is filled from this plan fits the slices
    if fingerprint.stack and not start:
        check_slices(config, fingerprint.stack)
    in_plane = np.arange(3) != slice_axis
    # Counted in voxels of the scans: later folds of a cross-validation get planned voxels, and must decide the same.
    patch_is_small = voxels < SEEN * np.prod(typical_grid(fingerprint, extent_mm, scans_mm)[in_plane])
    # Without a complete annotation, the extent of the structures is unknown. In a configuration that was filled from a
    # plan, data.locate says whether the patch is for a located part.
    annotated = dataset.labels.ignore is None and not any(case.unannotated for case in dataset.cases)
    located = (given or patch_is_small) and may_locate(config) and not whole_scans
    region_mm = region_extent(fingerprint) if located else None
    if region_mm is not None and not annotated:
        region_mm = None
        log.info("no locator, because some cases are not annotated completely: planned for whole scans")
    extent_mm = extent_mm if region_mm is None else region_mm
    if not config.data.spacing_mm:
        seen_at_least = SEEN_AT_LEAST if region_mm is None else SEEN_OF_PART
        spacing = np.array(choose_spacing(fingerprint, extent_mm, in_plane, voxels, seen_at_least))
    elif start:  # its network needs its own voxels
        spacing = np.array(config.data.spacing_mm, dtype=np.float64)
    else:
        spacing = configured_spacing(fingerprint, config.data.spacing_mm)
    spacing = np.round(spacing, 6)  # as in a configuration that is filled from the plan
    grid = typical_grid(fingerprint, extent_mm, spacing)
    size, strides, kernels = _choose_patch(config, grid, spacing, in_plane, voxels, start)
    batch = choose_batch(config, machine, int(np.prod(size)), base_channels, dataset.labels.channels)
    check_memory(machine, int(np.prod(size)), batch, base_channels, dataset.labels.channels)
    fields = dataclasses.asdict(config.network) | dataclasses.asdict(config.attention)
    del fields["base_channels"], fields["max_channels"], fields["max_levels"]
    widths = [min(base_channels * 2**level, config.network.max_channels) for level in range(len(kernels))]
    with as_configuration_error():
        architecture = Architecture(
            in_channels=len(dataset.channels),
            out_channels=dataset.labels.channels,
            channels=start.architecture.channels if start else widths,
            strides=strides,
            kernels=kernels,
            **fields,
        )
    if AXES[0] in config.augmentation.flip_axes and (sides := classes_of_sides(dataset.labels.names)):
        log.warning(
            "augmentation.flip_axes has left-right, and %s are named after sides: if only their place tells them "
            "apart, flipped patches teach the wrong side: leave left-right out, or give both sides one class",
            first_few(sides),
        )
    if config.data.spacing_mm and (loss := describe_loss(fingerprint, spacing.tolist())):
        log.warning("%s", loss)
    largest_mm = (fingerprint.grids * fingerprint.spacings_mm).max(axis=0)
    return Plan(
        channels=dataset.channels,
        labels=dataset.labels,
        preprocessing=Preprocessing(
            spacing_mm=tuple(spacing.tolist()),
            nonzero=start.preprocessing.nonzero if start else bool(np.median(fingerprint.kept) < 0.75),
            stack=start.preprocessing.stack if start else fingerprint.stack,
        ),
        largest_mm=_tenths(largest_mm),
        patch=tuple(int(s) for s in size),  # type: ignore[arg-type]
        slice_axis=slice_axis,
        mirror_axes=tuple(
            axis for axis, name in enumerate(AXES) if name in config.augmentation.flip_axes and axis != slice_axis
        ),
        batch=batch,
        architecture=architecture,
        region_mm=None if region_mm is None else _tenths(region_mm),
        channels_may_miss=len(dataset.channels) > 1 and config.augmentation.drop_channel > 0,
    )


def classes_of_sides(names: Sequence[str]) -> list[str]:
    """Return the classes whose name is that of another class, except for the side."""
    known = {name.lower() for name in names}
    mirrored = {name: SIDE.sub(lambda found: OTHER_SIDE[found[0]], name.lower()) for name in names}
    return [name for name, other in mirrored.items() if other != name.lower() and other in known]


def _choose_patch(
    config: Config, grid: np.ndarray, spacing: np.ndarray, in_plane: np.ndarray, voxels: int, start: Plan | None
) -> tuple[np.ndarray, list[list[int]], list[list[int]]]:
    """Return the size of a patch on a typical grid, and the strides and kernels of the levels."""
    size = np.array(config.data.patch or fit_patch(grid, spacing, in_plane, voxels))
    strides, kernels = _levels(config, size[in_plane], spacing[in_plane], start)
    if not config.data.patch:
        divisor = np.prod(strides, axis=0)
        all_seen = size[in_plane] >= grid[in_plane] - 1
        size[in_plane] = round_patch(size[in_plane], divisor, all_seen, voxels)
        if start:
            least = smallest_patch(strides)
            if (size[in_plane] < least).any():
                log.info("patches have at least %s voxels, for the levels of the model to start from", least.tolist())
            size[in_plane] = np.maximum(size[in_plane], least)
        strides, kernels = _levels(config, size[in_plane], spacing[in_plane], start)
    size[~in_plane] = 1
    return size, strides, kernels


def _tenths(edges_mm: Iterable[float]) -> tuple[float, float, float]:
    """Round lengths in mm to tenths, to at least one."""
    return tuple(max(float(round(edge, 1)), 0.1) for edge in edges_mm)  # type: ignore[return-value]


def _levels(
    config: Config, size: np.ndarray, spacing: np.ndarray, start: Plan | None
) -> tuple[list[list[int]], list[list[int]]]:
    """Return the strides and kernels of the levels: those of the model to start from, or planned for a patch."""
    if not start:
        return plan_levels(size, spacing, config.network.max_levels)
    if config.data.patch:
        check_levels(size.tolist(), start.architecture.steps)
    return [list(step) for step in start.architecture.steps], [list(k) for k in start.architecture.kernel_sizes]
