"""Faults of the machine in the middle of a training, told as what they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from attention_unet.errors import ConfigError, UserError
from attention_unet.machine.memory import out_of_memory

PARTNERS = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "timed out", "process group")
SHARED = ("/torch_", "shared memory")  # of which torch's errors speak where it is full
IN_WORKER = "Original Traceback"  # by which torch begins the text of an error that a worker met


class Lost(UserError):
    """A process of the training has died."""


@contextmanager
def reporting_faults(run: Path, device: torch.device, processes: int) -> Iterator[None]:
    """Tell what torch reports in words of its own.

    Args:
        run: folder of the run, whose last saved state is kept.
        device: that is computed on.
        processes: that train together.

    Raises:
        ConfigError: if the memory does not suffice.
        Lost: if a process that reads patches, or another that trains, has died.
    """
    go_on = f"go on from the last saved state with 'attention-unet train --resume --run {run}'"
    try:
        yield
    except UserError as error:
        if IN_WORKER in str(error):  # of which the last line is what was raised there
            raise type(error)(str(error).strip().splitlines()[-1].partition(": ")[2]) from error
        raise
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if out_of_memory(error):
            raise ConfigError(
                f"a step does not fit into the memory of {device}: lower training.batch, data.patch_voxels or "
                "network.base_channels in a new --run, or close other programs and go on with --resume"
            ) from error
        if any(words in text for words in SHARED):
            raise ConfigError(
                "the shared memory does not suffice for processes that read patches: set data.workers to 0, or give "
                f"the container more (--shm-size), and {go_on}"
            ) from error
        if IN_WORKER in text:
            raise Lost(f"a process that reads patches failed ({text.strip().splitlines()[-1]}): {go_on}") from error
        if "DataLoader worker" in text:
            raise Lost(
                f"a process that reads patches has died ({text.splitlines()[0]}): lower data.workers if the memory was "
                f"short, and {go_on}"
            ) from error
        if processes > 1 and any(word in text.lower() for word in PARTNERS):
            raise Lost(f"another process of this training has ended: see what it told; {go_on}") from error
        raise
