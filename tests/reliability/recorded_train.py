"""Run `attention-unet train` and log the time of each step: python -m tests.reliability.recorded_train LOG ..."""

import sys
import time
from pathlib import Path

from attention_unet.cli import main
from attention_unet.training.monitor import Monitor


def record(log: Path) -> None:
    """Log time and number of each step."""
    original = Monitor.record_step
    opened = log.open("a", buffering=1)

    def step(self: Monitor, number: int, *rest: float) -> None:
        opened.write(f"{time.monotonic()} {number}\n")
        original(self, number, *rest)

    Monitor.record_step = step  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    record(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
