"""Run the subcommand study: plan, list, run or report the trainings of a study."""

import logging
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from attention_unet.cli.screen import silence_profiler
from attention_unet.cli.study_file import read_study, write_new
from attention_unet.errors import ConfigError, plural

if TYPE_CHECKING:
    from attention_unet.study.design import Study

log = logging.getLogger("attention_unet")


def study(options: Namespace, parser: ArgumentParser) -> int:
    """Run a study, or a part of it."""
    silence_profiler()
    from attention_unet.files.lock import Busy
    from attention_unet.study.cells import is_done, run_cell
    from attention_unet.study.maps import check_maps
    from attention_unet.study.registration import register
    from attention_unet.study.report import PAGE, write_study
    from attention_unet.training.monitor import format_time

    file = Path(options.file)
    if options.new:
        write_new(file, options.new)
    folder = Path(options.output or file.with_suffix(""))
    if folder == file:
        raise ConfigError(f"{file}: has no ending, such as .yaml: rename it, or name a folder for results by --output")
    planned = read_study(file)
    cells = planned.cells()
    if options.only is not None and not 0 <= options.only < len(cells):
        raise ConfigError(f"--only is {options.only}: expected a training from 0 to {len(cells) - 1}")
    if options.list:
        command = ["attention-unet", "study", str(file), *(["-o", options.output] if options.output else []), "--only"]
        print(*(shlex.join([*command, str(number)]) for number in range(len(cells))), sep="\n")
        return 0
    if options.plan or options.new:
        _print_plan(planned, folder)
        return 0
    filled, registration = register(planned, folder, options.amend)
    if options.maps is not None:
        check_maps(filled, folder, options.maps)
    only_report = options.report or options.maps is not None
    wanted = [] if only_report else range(len(cells)) if options.only is None else [options.only]
    open_cells = [number for number in wanted if not is_done(filled, cells[number], folder)]
    began = time.monotonic()
    for done, number in enumerate(open_cells):
        log.info("training %d: %s", number, cells[number].name)
        try:
            run_cell(filled, cells[number], folder)
        except Busy:
            if options.only is not None:
                raise
            log.info("%s: another process trains it", cells[number].name)
        left = len(open_cells) - done - 1
        seconds = (time.monotonic() - began) / (done + 1) * left
        log.info("%s left, about %s", plural(left, "training"), format_time(seconds))
    if options.only is None:
        for verdict in write_study(filled, registration, folder):
            print(verdict)
        log.info("all of it in a page: %s", folder / PAGE)
    return 0


def _print_plan(study: "Study", folder: Path) -> None:
    """Print the trainings of a study, the hours they take on this machine, and the precision to expect.

    The cost of each arm is kept in the folder, for the comparison at equal time.
    """
    from attention_unet.study.costs import measure_costs, write_costs
    from attention_unet.study.registration import plan_arms
    from attention_unet.study.verdicts import ASSUMED_SD, expected_half_width

    cells, hours, costs = study.cells(), 0.0, measure_costs(study, plan_arms(study))
    write_costs(costs, folder)
    for cost in costs:
        steps, count = study.arms[cost.arm].training.steps or 0, sum(cell.arm == cost.arm for cell in cells)
        hours += count * steps * cost.seconds / 3600
        print(f"{cost.arm}: {plural(count, 'training')} of {steps} steps of {cost.seconds:.3f} s")
    print(f"{plural(len(cells), 'training')}: about {hours:.1f} h on this machine, without validation and prediction")
    for claim in study.hypotheses:
        folds, seeds = len(study.folds), len(study.common_seeds(claim.arm, claim.against))
        pairs, half = folds * seeds, expected_half_width(folds, seeds)
        width = f"\N{PLUS-MINUS SIGN}{half:.4f}" if pairs > 1 else "none: one pair of trainings"
        print(f"{claim.arm} against {claim.against}, {plural(pairs, 'pair')} of trainings: expected interval {width}")
    print(f"if the standard deviation between pairs is {ASSUMED_SD}, which is a guess: see docs/study.md")
