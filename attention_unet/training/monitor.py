"""Show the progress of a training: progress bar, log, tables of validations, pictures and TensorBoard."""

import logging
import math
import time
from collections.abc import Sequence
from operator import methodcaller
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from attention_unet.evaluation.structure_attention import mean_attention
from attention_unet.files.run_folder import CONFIG, CURVES, HISTORY, SLICES, VALIDATIONS
from attention_unet.machine.progress import LINE_EVERY, SCREEN, format_time
from attention_unet.pictures.figures import save_figure
from attention_unet.pictures.mosaic import Scene, draw_mosaic
from attention_unet.training.board import Board
from attention_unet.training.checkpoint import LoopState
from attention_unet.training.curves import draw_training
from attention_unet.training.history import CaseDice, read_validations, write_history, write_validations
from attention_unet.training.validation import Validation

log = logging.getLogger(__name__)

SCALARS_EVERY = 10  # steps
DRAWN_EVERY = 60  # seconds between pictures; the last validation is always drawn


class Monitor:
    """Display of one training. Only the first of several processes has one.

    ``history`` are the rows of ``history.csv`` before this training was resumed.
    """

    def __init__(self, run: Path, class_names: Sequence[str], history: list[dict[str, float]], first_step: int) -> None:
        self.run = run
        self.class_names = class_names
        self.history = history
        file = run / VALIDATIONS
        before = read_validations(file) if history and file.is_file() else []
        recorded = {row["step"] for row in history}
        self.validations = [row for row in before if row.step in recorded]
        self.board = Board(run / "tensorboard", first_step + 1)
        configuration = (run / CONFIG).read_text(encoding="utf-8")
        self.board.write(lambda writer: writer.add_text("configuration", f"```\n{configuration}\n```"))
        self.last_line = self.drawn = time.monotonic()
        self.dice = format_dice(history[-1]["dice"]) if history else "-"
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            console=SCREEN,
            disable=not SCREEN.is_terminal,
        )
        self.task = self.bar.add_task("training", total=1.0, status="starting")
        self.bar.start()

    def record_step(
        self, step: int, progress: float, loop: LoopState, learning_rate: float, seconds_left: float
    ) -> None:
        """Show a training step."""
        status = (
            f"step {step}  loss {loop.loss:.3f}  Dice {self.dice}  {loop.patches_a_second:.1f} patches/s  "
            f"{format_time(seconds_left)} left"
        )
        self.bar.update(self.task, completed=progress, status=status)
        if self.bar.disable and time.monotonic() - self.last_line > LINE_EVERY:
            self.last_line = time.monotonic()
            log.info("%3.0f%%  %s", 100 * progress, status)
        if step % SCALARS_EVERY == 0:
            scalars = {"loss/training": loop.loss, "learning_rate": learning_rate}
            scalars |= {"patches_a_second": loop.patches_a_second, "waiting": loop.waiting}
            self.board.write_scalars(scalars, step)

    def start_validation(self) -> None:
        """Show that a validation is running."""
        self.bar.update(self.task, status="validating on whole volumes")

    def record_validation(self, row: dict[str, float], validation: Validation, last: bool) -> None:
        """Record and show a validation by its row of ``history.csv``: step, "dice" and "dice NAME" of classes."""
        self.history.append(row)
        self.dice = format_dice(row["dice"])
        classes = ", ".join(f"{name} {format_dice(row['dice ' + name])}" for name in self.class_names)
        step = int(row["step"])
        log.info("step %d, %.1f min: loss %.3f, Dice %s (%s)", step, row["minutes"], row["loss"], self.dice, classes)
        write_history(self.run / HISTORY, self.history)
        for case, dice in validation.dice.items():
            self.validations += [CaseDice(step, case, *of) for of in zip(self.class_names, dice, strict=True)]
        write_validations(self.run / VALIDATIONS, self.validations)
        if last or time.monotonic() - self.drawn > DRAWN_EVERY:
            self._draw(validation.scenes)
        self.board.write_scalars({f"validation/{key}": row[key] for key in row if key.startswith("dice")}, step)
        for (place, name), mean in mean_attention(validation.attention).items():
            self.board.write_scalars({f"attention {place}/{key} {name}": value for key, value in mean.items()}, step)
        self.board.write(methodcaller("flush"))

    def _draw(self, scenes: Sequence[Scene]) -> None:
        """Draw learning curves and slices of example cases."""
        draw_training(self.history, self.class_names, self.run / CURVES)
        if scenes:
            save_figure(draw_mosaic(scenes, self.class_names), self.run / SLICES)
        self.drawn = time.monotonic()

    def close(self) -> None:
        """Remove the progress bar and close the files."""
        self.bar.stop()
        self.board.close()


def format_dice(value: float) -> str:
    """Return a Dice with four decimals; a dash for NaN, for example without held-out cases."""
    return "-" if math.isnan(value) else f"{value:.4f}"
