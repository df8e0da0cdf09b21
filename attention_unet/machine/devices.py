"""Choose device, precision and number of processes."""

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from attention_unet.config import TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.machine.memory import machine_memory

if TYPE_CHECKING:  # prediction does not need it
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

HELD = ("out of memory", "busy or unavailable")  # words about a card that other programs hold for now
SLOW_CUDNN = (90800, 91500)  # pytorch/pytorch#166643
FREEING_SECONDS = 0.3  # enough for a few threads to run once


@dataclass(frozen=True)
class Machine:
    """Hardware that a training may use."""

    kind: str  # type of the device: "cpu", "cuda" or "mps"
    memory: int  # of the device for one process, in bytes
    threads: int  # of the CPU
    fast: bool  # whether the device computes faster in bfloat16
    processes: int  # that share a step, one per device
    voxels_per_second: float | None = None  # that one process trains on, with 16 channels; None if not measured


def this_machine(config: TrainingConfig) -> Machine:
    """Return the hardware of this machine. Raise ConfigError if the configured device is not available."""
    device = choose_device(config.accelerator)
    fast = choose_precision(config.precision, device) == torch.bfloat16
    devices, nodes = devices_and_nodes(config)
    if device.type == "cuda":
        memory = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)  # others may use the card
    else:
        memory = machine_memory() // devices  # processes share it
    return Machine(device.type, memory, torch.get_num_threads(), fast, devices * nodes)


def choose_device(name: str) -> torch.device:
    """Return a device by its name. "auto" takes CUDA if it works, otherwise the CPU.

    Nobody has run this program on MPS, so it must be asked for by its name. Raise ConfigError if the device is not
    available or does not work.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kinds = [kind for kind in available if available[kind]]
    if name not in ("auto", *kinds):
        raise ConfigError(f"the device {name} is not available on this machine: expected auto or one of {kinds}")
    if name in ("auto", "cuda") and available["cuda"]:
        try:
            _try_cuda()
            return torch.device("cuda")
        except RuntimeError as error:
            problem = str(error).strip().splitlines()[0]
        held = any(words in problem.lower() for words in HELD)
        if name == "cuda" or held:
            free = "wait, end other programs on it, or take another card by CUDA_VISIBLE_DEVICES"
            raise ConfigError(
                f"the device cuda does not work: {problem}: {free if held else 'install another torch'}; or use the "
                "CPU (--device cpu, in trainings --training.accelerator cpu)"
            )
        log.warning("cuda does not work, the CPU is used: %s", problem)
    return torch.device("mps" if name == "mps" else "cpu")


@cache  # a failure is not kept: a card that other programs hold may become free
def _try_cuda() -> None:
    """Compute something on the card, or raise RuntimeError: torch also finds cards that it has no code for."""
    rank = int(os.environ.get("LOCAL_RANK", "0"))  # of torchrun or Fabric: each process tries its own card
    device = f"cuda:{rank}" if 0 < rank < torch.cuda.device_count() else "cuda"
    torch.zeros(1, device=device).add_(1).item()
    version = int(torch.backends.cudnn.version() or 0)  # type: ignore[no-untyped-call]
    if SLOW_CUDNN[0] <= version < SLOW_CUDNN[1]:
        log.warning(
            "this cuDNN computes 3-D convolutions in half precision wrongly, so torch does not use it and is many "
            "times slower: install nvidia-cudnn 9.15 or later"
        )


@contextmanager
def repeatable(device: torch.device, wanted: bool) -> Iterator[None]:
    """Make a GPU compute the same bits every time, as far as torch can. It warns of operations that do not.

    On a CPU everything is repeatable without it.
    """
    if device.type != "cuda" or not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # needed by cuBLAS
    before, convolutions = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        torch.backends.cudnn.deterministic = convolutions


@contextmanager
def apart_from_caller() -> Iterator[None]:
    """Train as if the caller had changed no default of torch, and leave the caller's random numbers as they were."""
    dtype = torch.get_default_dtype()
    cards = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]
    torch.set_default_dtype(torch.float32)
    try:
        with torch.random.fork_rng(cards), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return "bfloat16", "float32" or, for "auto", bfloat16 if the hardware computes faster in it.

    With AVX512-BF16 but without AMX, an Intel Xeon multiplied matrices in bfloat16 at half the rate of float32
    (docs/experiments.md), so only processors of AMD use it.
    """
    if name != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = torch.cpu._is_amx_tile_supported() or (torch.cpu._is_avx512_bf16_supported() and made_by_amd())
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def made_by_amd() -> bool:
    """Return whether the processor is one of AMD."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "AuthenticAMD" in cpuinfo.read_text(errors="replace")


def devices_and_nodes(config: TrainingConfig) -> tuple[int, int]:
    """Return processes per machine and number of machines: as configured, or as started by torchrun."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        return devices, int(os.environ["WORLD_SIZE"]) // devices
    return config.devices, config.nodes


def check_batch(batch: int, processes: int) -> None:
    """Raise ConfigError if the patches of a batch cannot be shared equally by the processes."""
    if batch % processes:
        raise ConfigError(f"training.batch is {batch}: expected a multiple of the {processes} processes that share it")


def make_fabric(config: TrainingConfig) -> "Fabric":
    """Return Fabric with the configured device, precision and processes. Under torchrun, torchrun sets the processes.

    Raise ConfigError if the device is not available, or the processes cannot share the batch equally.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its import sets it to INFO
    devices, nodes = devices_and_nodes(config)
    if config.batch is not None:  # before other processes start
        check_batch(config.batch, devices * nodes)
    device = choose_device(config.accelerator)
    precision = choose_precision(config.precision, device)
    # In a job of SLURM, Fabric would take this process for one of those that srun started, and start no other.
    by_srun = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    by_others = {"TORCHELASTIC_RUN_ID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE"} & set(os.environ)
    started_by_others = devices * nodes > 1 and (by_srun or bool(by_others))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The `srun` command")  # where SLURM is installed, it is not always wanted
            return Fabric(
                accelerator=device.type,
                devices=devices,
                num_nodes=nodes,
                precision="bf16-mixed" if precision == torch.bfloat16 else "32-true",
                plugins=None if started_by_others else LightningEnvironment(),
            )
    except (RuntimeError, ValueError) as error:  # Fabric's MisconfigurationException is a RuntimeError
        raise ConfigError(
            f"training.devices is {devices}, training.nodes is {nodes}: {error}; change them to fit this machine"
        ) from error


def leave_processes(fabric: "Fabric") -> None:
    """Let each process end by itself, after the threads of the process group have freed their last tensors.

    The threads need Python's global lock for this. Without the wait, the interpreter sometimes aborts
    (pytorch/pytorch#179291), and destroying the group never returns.
    """
    if fabric.world_size > 1:
        # Fabric looks every five seconds whether one of these processes has ended, and then kills the first one.
        getattr(fabric.strategy.launcher, "procs", []).clear()
        time.sleep(FREEING_SECONDS)
