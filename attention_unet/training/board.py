"""TensorBoard, which a training can do without: where it cannot be written, that is told once."""

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
    """Writes to a folder that TensorBoard shows.

    Args:
        folder: to write to.
        first_step: from which on what an earlier call wrote no longer counts.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None
        try:
            _without_host(folder)  # what a killed process left
            self._writer = SummaryWriter(str(folder), purge_step=first_step)
        except OSError as error:
            self._give_up(error)

    def text(self, name: str, text: str) -> None:
        """Show a text."""
        self._try(lambda writer: writer.add_text(name, text))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Show a number of a step."""
        self._try(lambda writer: writer.add_scalar(name, value, step))

    def histogram(self, name: str, values: NDArray[np.floating], step: int) -> None:
        """Show how values are spread."""
        self._try(lambda writer: writer.add_histogram(name, values, step))

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Show a picture."""
        self._try(lambda writer: writer.add_figure(name, figure, step))

    def flush(self) -> None:
        """Write what was shown."""
        self._try(lambda writer: writer.flush())

    def close(self) -> None:
        """Write it and close the file."""
        self._try(lambda writer: writer.close())
        _without_host(self._folder)

    def _try(self, show: Callable[[SummaryWriter], None]) -> None:
        if self._writer is not None:
            try:
                show(self._writer)
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.warning("TensorBoard cannot be written (%s): the training goes on without", error.strerror or error)
        self._writer = None


def _without_host(folder: Path) -> None:
    """Take the name of this machine, often that of its user, out of the names of files."""
    for file in folder.glob(f"events.*.{socket.gethostname()}.*"):
        with suppress(OSError):
            file.rename(file.with_name(file.name.replace(f".{socket.gethostname()}.", ".", 1)))
