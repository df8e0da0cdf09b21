"""How large a training is to be, for the machine and the minutes at hand: width, patch and batch."""

from dataclasses import dataclass

from attention_unet.config import Config
from attention_unet.machine.devices import Machine

PATCHES = 16_000  # that a budget should show at least, before patches are made larger
EDGES = {"cpu": (48, 64), "gpu": (48, 128)}  # voxels of the smallest and the largest cube that a patch may fill
CHANNELS = {"cpu": 16, "gpu": 32}
VOXELS_A_SECOND = {
    "cpu": 600_000,
    "gpu": 60_000_000,
}  # that a training sees; a thread of a CPU that computes in bfloat16
SLOWER = 3  # times, in float32
SMALLEST_BATCH = {2: 8, 3: 2}  # patches a process: a slice shows little
LARGEST_BATCH = 16
OCCUPIED = 1_000_000  # voxels of a batch that keep a GPU busy
# Bytes that a training step holds for each voxel of a batch and channel of the finest level, in bfloat16 and not.
BYTES = {True: 45, False: 70}
SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True)
class Size:
    """What follows from machine and budget, where the configuration leaves it open."""

    base_channels: int
    patch_voxels: int


def choose_size(config: Config, machine: Machine) -> Size:
    """Width by the kind of device; the largest patch that the budget can show often enough and memory holds.

    A budget in steps or epochs says nothing of time: it gets the largest patch of its kind of device.
    """
    kind = kind_of(machine)
    channels = config.network.base_channels or CHANNELS[kind]
    smallest, edge = EDGES[kind]
    minutes = config.training.minutes
    if minutes is not None:
        rate = VOXELS_A_SECOND[kind] * (machine.threads if kind == "cpu" else 1) / (1 if machine.fast else SLOWER)
        seen = 60 * minutes * rate * CHANNELS[kind] / channels / PATCHES
        while edge > smallest and edge**3 > seen:
            edge -= 8
    patches = max(SMALLEST_BATCH[config.network.dims], -(-(config.training.batch or 0) // machine.processes))
    while edge > 16 and BYTES[machine.fast] * channels * edge**3 * patches > SHARE_OF_MEMORY * machine.memory:
        edge -= 8
    return Size(channels, config.data.patch_voxels or edge**3)


def choose_batch(config: Config, machine: Machine, voxels: int) -> int:
    """Patches a step over all processes: on a GPU enough to occupy it.

    Args:
        config: whose own batch is taken, if it has one.
        machine: at hand.
        voxels: of a patch.
    """
    of_one = SMALLEST_BATCH[config.network.dims]
    if kind_of(machine) == "gpu":
        of_one = min(max(OCCUPIED // voxels, of_one), LARGEST_BATCH)
    return config.training.batch or of_one * machine.processes


def kind_of(machine: Machine) -> str:
    """Key of the tables above."""
    return "cpu" if machine.kind == "cpu" else "gpu"
