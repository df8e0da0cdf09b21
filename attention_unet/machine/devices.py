"""Where, in which precision and in how many processes to compute."""

import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from attention_unet.config import TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.machine.memory import machine_memory

if TYPE_CHECKING:  # predicting does without it
    from lightning_fabric import Fabric

FREEING_SECONDS = 0.3  # plenty for a few threads to take their turn


@dataclass(frozen=True)
class Machine:
    """What a training may use.

    Attributes:
        kind: of device, "cpu", "cuda" or "mps".
        memory: bytes for one process, of the device.
        threads: of a CPU.
        fast: whether it computes in bfloat16.
        processes: that share a step, one a device.
    """

    kind: str
    memory: int
    threads: int
    fast: bool
    processes: int


def this_machine(config: TrainingConfig) -> Machine:
    """The machine at hand.

    Raises:
        ConfigError: if a device asked for by name is not there.
    """
    device = choose_device(config.accelerator)
    fast = precision_of(config.precision, device) == torch.bfloat16
    devices, nodes = devices_and_nodes(config)
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = machine_memory() // devices  # they share it
    return Machine(device.type, memory, torch.get_num_threads(), fast, devices * nodes)


def choose_device(name: str) -> torch.device:
    """Device by name; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: if a device asked for by name is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind in there if there[kind]))
    if not there.get(name, False):
        raise ConfigError(
            f"the device {name} is not there on this machine: expected auto or one of {[k for k in there if there[k]]}"
        )
    return torch.device(name)


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """Precision by name, "auto", "bfloat16" or "float32"; "auto" is bfloat16 where the hardware computes in it."""
    if name != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def devices_and_nodes(config: TrainingConfig) -> tuple[int, int]:
    """Processes on a machine and machines: as configured, or under torchrun what it started."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        return devices, int(os.environ["WORLD_SIZE"]) // devices
    return config.devices, config.nodes


def check_batch(batch: int, processes: int) -> None:
    """Check that all processes get as many patches.

    Raises:
        ConfigError: if they do not.
    """
    if batch % processes:
        raise ConfigError(f"training.batch is {batch}: expected a multiple of the {processes} processes that share it")


def make_fabric(config: TrainingConfig) -> "Fabric":
    """Devices, precision and processes. Under torchrun the number of processes is what it started.

    Raises:
        ConfigError: if the device asked for is not there, or the batch asked for cannot be shared.
    """
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its import has set it to tell everything
    devices, nodes = devices_and_nodes(config)
    if config.batch is not None:  # before any other process is started
        check_batch(config.batch, devices * nodes)
    device = choose_device(config.accelerator)
    precision = precision_of(config.precision, device)
    try:
        return Fabric(
            accelerator=device.type,
            devices=devices,
            num_nodes=nodes,
            precision="bf16-mixed" if precision == torch.bfloat16 else "32-true",
        )
    except (RuntimeError, ValueError) as error:  # Fabric's MisconfigurationException is a RuntimeError
        raise ConfigError(f"training.devices is {devices}, training.nodes {nodes}: {error}") from error


def leave_processes(fabric: "Fabric") -> None:
    """Let threads of the process group free what was exchanged last, before the interpreter ends.

    They need Python's lock to do so; without it the end of the interpreter aborts a process now and then
    (pytorch/pytorch#179291), and destroying the group waits for ever.
    """
    if fabric.world_size > 1:
        time.sleep(FREEING_SECONDS)
