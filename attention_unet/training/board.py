"""Write the files of TensorBoard. A training continues without them if they cannot be written."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


class Board:
    """Writer of a folder that TensorBoard shows. If writing fails, it logs one warning and stops writing.

    Args:
        folder: folder to write to.
        first_step: TensorBoard hides earlier values from this step on.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None
        try:
            _remove_host_names(folder)  # files of a killed process
            self._writer = SummaryWriter(str(folder), purge_step=first_step)
        except OSError as error:
            self._disable(error)

    def add_text(self, name: str, text: str) -> None:
        """Write a text."""
        self._write(lambda writer: writer.add_text(name, text))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Write a number of a step."""
        self._write(lambda writer: writer.add_scalar(name, value, step))

    def add_histogram(self, name: str, values: NDArray[np.floating], step: int) -> None:
        """Write the distribution of values at a step."""
        self._write(lambda writer: writer.add_histogram(name, values, step))

    def add_figure(self, name: str, figure: Figure, step: int) -> None:
        """Write a picture of a step."""
        self._write(lambda writer: writer.add_figure(name, figure, step))

    def flush(self) -> None:
        """Flush to the disk."""
        self._write(lambda writer: writer.flush())

    def close(self) -> None:
        """Flush and close the file."""
        self._write(lambda writer: writer.close())
        _remove_host_names(self._folder)

    def _write(self, action: Callable[[SummaryWriter], None]) -> None:
        if self._writer is not None:
            try:
                action(self._writer)
            except OSError as error:
                self._disable(error)

    def _disable(self, error: OSError) -> None:
        log.warning("TensorBoard cannot be written (%s): training continues without it", error.strerror or error)
        self._writer = None


def _remove_host_names(folder: Path) -> None:
    """Remove the name of this machine from file names, because it often contains the name of its user."""
    for file in folder.glob(f"events.*.{socket.gethostname()}.*"):
        with suppress(OSError):
            file.rename(file.with_name(file.name.replace(f".{socket.gethostname()}.", ".", 1)))
