"""Write the files of TensorBoard. A training continues without them if they cannot be written."""

import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import methodcaller
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


class Board:
    """Writer of a folder that TensorBoard shows. If writing fails, it logs one warning and stops writing.

    TensorBoard hides what was written earlier for ``first_step`` and later steps.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None
        try:
            _remove_host_names(folder)  # files of a killed process
            self._writer = SummaryWriter(str(folder), purge_step=first_step)
        except OSError as error:
            self._disable(error)

    def close(self) -> None:
        """Flush and close the file."""
        self.write(methodcaller("close"))
        _remove_host_names(self._folder)

    def write_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers of a step, by name."""
        for name, value in values.items():
            self.write(methodcaller("add_scalar", name, value, step))

    def write(self, action: Callable[[SummaryWriter], None]) -> None:
        """Write with an action on the writer of TensorBoard."""
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
