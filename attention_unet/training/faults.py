"""Report faults of the machine during a training as errors that the user can correct."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from attention_unet.errors import ConfigError, UserError
from attention_unet.machine.memory import out_of_memory

# Texts by which errors of torch that have no class of their own are recognised.
SHARED_MEMORY = ("</torch_", "shared memory")
IN_WORKER = "Original Traceback"  # a data worker raised the error
BACKENDS = ("gloo", "nccl")  # the library that connects the processes raised the error


class ProcessDied(UserError):
    """A process of the training died."""


@contextmanager
def reporting_faults(run: Path, device: torch.device, processes: int) -> Iterator[None]:
    """Raise ConfigError if memory or shared memory was too small, ProcessDied if a worker or another process died."""
    advice = f"continue from the last saved state with 'attention-unet train --resume --run {run}'"
    try:
        yield
    except UserError as error:
        if IN_WORKER in str(error):  # its last line is the original error
            raise type(error)(_last_line(error).partition(": ")[2]) from error
        raise
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if out_of_memory(error):
            raise ConfigError(
                f"a step does not fit into the memory of {device}: lower training.batch, data.patch_voxels or "
                "network.base_channels in a new --run, or close other programs and continue with --resume"
            ) from error
        if any(words in text for words in SHARED_MEMORY):
            raise ConfigError(
                "shared memory is too small for the data workers: set data.workers to 0, or give the container more "
                f"(--shm-size), and {advice}"
            ) from error
        if IN_WORKER in text:
            raise ProcessDied(f"a data worker failed ({_last_line(error)}): {advice}") from error
        if "DataLoader worker" in text:
            raise ProcessDied(
                f"a data worker died ({text.splitlines()[0]}): lower data.workers if memory was short; in a script, "
                f"call train below \"if __name__ == '__main__':\"; {advice}"
            ) from error
        connection = isinstance(error, torch.distributed.DistError) or any(name in text.lower() for name in BACKENDS)
        if processes > 1 and connection:
            raise ProcessDied(f"another process of this training has ended: read its messages; {advice}") from error
        raise


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
