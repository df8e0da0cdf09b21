"""Choose width, patch and batch of a training for the machine and its time budget."""

from typing import NamedTuple

from attention_unet.config import Config
from attention_unet.errors import ConfigError
from attention_unet.machine.devices import Machine

MIN_PATCHES = 8_000  # number of patches a training should see; patches are larger only if the budget allows it
PATCH_EDGES = {"cpu": (48, 96), "gpu": (48, 128)}  # edges of the smallest and the largest cubic patch, in voxels
UNTIMED_EDGES = {"cpu": 64, "gpu": 128}  # for budgets in steps
CHANNELS = {"cpu": 16, "gpu": 32}
VOXELS_PER_SECOND = {"cpu": 600_000, "gpu": 60_000_000}  # if not measured: in bfloat16; cpu: of one thread
FLOAT32_SLOWDOWN = 3
MIN_BATCH = {2: 8, 3: 2}  # patches per process, by dimensions; a slice holds less than a volume
MAX_BATCH = 16
GPU_BATCH_VOXELS = 1_000_000  # voxels of a batch that keep a GPU busy
# Memory of a training step per voxel of a batch and channel of the finest level, with and without bfloat16, and what
# each class beyond a few adds per voxel. docs/gpu.md has what a GPU needed.
BYTES_PER_VALUE = {True: 45, False: 70}
BYTES_PER_CLASS, FEW_CLASSES = 18, 3
FRAGMENTED = {"cpu": 1.5, "gpu": 1.0}  # memory of a process, as a multiple of that of its tensors
MEMORY_SHARE = 0.5


class Size(NamedTuple):
    """Channels of the finest level, and voxels of a patch."""

    base_channels: int
    patch_voxels: int


def bytes_per_voxel(channels: int, classes: int, fast: bool) -> int:
    """Estimate the memory of a training step per voxel of a batch, in bfloat16 if it is fast."""
    return BYTES_PER_VALUE[fast] * channels + BYTES_PER_CLASS * max(classes - FEW_CLASSES, 0)


def choose_size(config: Config, machine: Machine, classes: int) -> Size:
    """Choose the channels by the kind of device, unless they are configured, and the size of a patch.

    The patch is the largest that fits into the time budget and the memory. A budget in steps sets no time limit.
    """
    kind = "cpu" if machine.kind == "cpu" else "gpu"
    channels = config.network.base_channels or CHANNELS[kind]
    smallest, edge = PATCH_EDGES[kind]
    minutes = config.training.budget_minutes
    if minutes is None:
        edge = UNTIMED_EDGES[kind]
    else:
        threads = machine.threads if kind == "cpu" else 1
        usual = VOXELS_PER_SECOND[kind] * threads / (1 if machine.fast else FLOAT32_SLOWDOWN)
        rate = machine.voxels_per_second or usual
        affordable = 60 * minutes * rate * CHANNELS[kind] / channels / MIN_PATCHES
        while edge > smallest and edge**3 > affordable:
            edge -= 8
    patches = max(MIN_BATCH[config.network.dims], -(-(config.training.batch or 0) // machine.processes))
    per_voxel = FRAGMENTED[kind] * bytes_per_voxel(channels, classes, machine.fast) * patches
    while edge > 16 and per_voxel * edge**3 > MEMORY_SHARE * machine.memory:
        edge -= 8
    return Size(channels, config.data.patch_voxels or edge**3)


def choose_batch(config: Config, machine: Machine, voxels: int, channels: int, classes: int) -> int:
    """Choose the patches per step over all processes; on a GPU enough to keep it busy, as far as its memory allows."""
    per_process = MIN_BATCH[config.network.dims]
    if machine.kind != "cpu":
        fitting = int(MEMORY_SHARE * machine.memory // (bytes_per_voxel(channels, classes, machine.fast) * voxels))
        per_process = max(min(GPU_BATCH_VOXELS // voxels, MAX_BATCH, fitting), per_process)
    return config.training.batch or per_process * machine.processes


def check_memory(machine: Machine, voxels: int, batch: int, channels: int, classes: int) -> None:
    """Raise ConfigError if a training step needs more than the memory of a CPU: the system would end the process."""
    needed = bytes_per_voxel(channels, classes, machine.fast) * voxels * batch / machine.processes
    if machine.kind == "cpu" and needed > machine.memory:
        raise ConfigError(
            f"a training step of {batch} x {voxels:,} voxels needs about {needed / 2**30:.0f} GiB of memory, and "
            f"{machine.memory / 2**30:.0f} GiB are there: lower data.patch or training.batch"
        )
