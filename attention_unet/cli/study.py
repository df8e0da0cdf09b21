"""Run the subcommand study: plan, list, run or report the trainings of a study."""

import logging
import shlex
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from attention_unet.cli.call import wants_jobs
from attention_unet.cli.study_file import read_study, write_new
from attention_unet.errors import ConfigError, plural
from attention_unet.machine.progress import format_time

if TYPE_CHECKING:
    from attention_unet.study.design import Study
    from attention_unet.study.registration import Registration

log = logging.getLogger("attention_unet")

TASKS = ("new", "plan", "list", "record", "only", "report", "maps")  # at most one of them in a call


def study(options: Namespace, parser: ArgumentParser) -> int:
    """Run a study, or a part of it."""
    from attention_unet.study.finished import find_finished, finished_record
    from attention_unet.study.maps import check_maps
    from attention_unet.study.register import register
    from attention_unet.study.registration import RECORD

    file = Path(options.file)
    if not file.name or file.is_dir():
        raise ConfigError(f"{options.file or 'the study'}: is a folder: expected a YAML file")
    given = [f"--{name}" for name in TASKS if options[name] is not None and options[name] is not False]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)}: expected one of them, or none")
    if options.amend is not None and given and given[0] in ("--new", "--plan", "--list"):
        raise ConfigError(
            f"--amend and {given[0]}: expected --amend alone, or with --record, --only, --report or --maps"
        )
    several = wants_jobs(options, given)
    folder = Path(options.output or file.with_suffix(""))
    if folder == file:
        raise ConfigError(f"{file}: has no ending, such as .yaml: rename it, or name a folder for results by --output")
    if options.new is not None:
        write_new(file, options.new)
    planned = read_study(file)
    cells = planned.cells()
    if options.only is not None and not 0 <= options.only < len(cells):
        raise ConfigError(f"--only is {options.only}: expected a training from 0 to {len(cells) - 1}")
    call = ["study", str(file), *(["-o", options.output] if options.output else [])]
    if options.list:
        for number, cell in enumerate(cells):
            print(f"{shlex.join(['attention-unet', *call, '--only', str(number)])}  # {cell.name}")
        return 0
    if options.plan or options.new is not None:
        _print_plan(planned, folder)
        return 0
    nothing_to_train = options.report or options.maps is not None
    if nothing_to_train and not (folder / RECORD).exists() and not find_finished(folder):
        raise ConfigError(f"{folder}: has no {RECORD}: no training was started: run the study first")
    filled, registration = register(planned, folder, options.amend)
    if options.record:
        return 0
    if options.maps is not None:
        check_maps(filled, registration, folder, options.maps)
    if several:
        from attention_unet.machine.jobs import run_jobs

        left = [number for number in range(len(cells)) if not finished_record(registration, cells[number], folder)]
        code = run_jobs({cells[i].name: [*call, "--only", str(i)] for i in left}, options.jobs) if left else 0
        if still := sum(not finished_record(registration, cells[number], folder) for number in left):
            log.info("%s left: repeat the command", plural(still, "training"))
            if code == 1:  # the trainings that are left ended without a result
                _report(filled, registration, folder)
            return code
    failed = 0
    if not nothing_to_train:
        failed = _run(filled, registration, folder, range(len(cells)) if options.only is None else [options.only])
    if options.only is None:
        _report(filled, registration, folder)
    return 1 if failed else 0


def _run(study: "Study", registration: "Registration", folder: Path, wanted: Sequence[int]) -> int:
    """Run trainings that are not finished. Return the number of those without a result.

    With several, one that another process has is left to it, and one without a result stops no other.
    """
    from attention_unet.files.lock import Busy
    from attention_unet.study.cells import NoResult, run_cell
    from attention_unet.study.finished import RUNS, finished_record

    cells = study.cells()
    left = [number for number in wanted if not finished_record(registration, cells[number], folder)]
    seconds: list[float] = []  # of trainings that began here
    failed = 0
    for done, number in enumerate(left, start=1):
        cell, began = cells[number], time.monotonic()
        log.info("training %d: %s", number, cell.name)
        is_new = not (folder / RUNS / cell.group / f"fold{cell.fold}").exists()
        try:
            run_cell(study, registration, cell, folder)
            seconds += [time.monotonic() - began] if is_new else []
        except Busy:
            if len(wanted) == 1:
                raise
            log.info("%s: another process trains it", cell.name)
        except NoResult as error:
            if len(wanted) == 1:
                raise
            log.error("%s: %s", cell.name, error)
            failed += 1
        if more := len(left) - done:
            time_left = f", about {format_time(statistics.mean(seconds) * more)}" if seconds else ""
            log.info("%s left%s", plural(more, "training"), time_left)
    return failed


def _report(study: "Study", registration: "Registration", folder: Path) -> None:
    from attention_unet.study.report import PAGE, write_study

    for verdict in write_study(study, registration, folder):
        print(verdict)
    log.info("all of it in a page: %s", folder / PAGE)


def _print_plan(study: "Study", folder: Path) -> None:
    """Print the trainings of a study, the time they take on this machine, and the precision to expect.

    The cost of each arm is kept in the folder, for the comparison at equal time.
    """
    from attention_unet.study.costs import measure_costs, write_costs
    from attention_unet.study.register import plan_arms, register
    from attention_unet.study.verdicts import ASSUMED_SD, expected_half_width

    filled, registration = register(study, folder, save=False)
    plans = plan_arms(study, registration.common_plan)
    cells, seconds, costs = study.cells(), 0.0, measure_costs(filled, registration, plans)
    write_costs(costs, folder)
    for cost in costs:
        steps, count = study.arms[cost.arm].training.steps or 0, sum(cell.arm == cost.arm for cell in cells)
        seconds += count * steps * cost.seconds
        times = (
            f"{cost.ratio:.2f} ({cost.least_ratio:.2f} to {cost.most_ratio:.2f}) times the first arm's in the same turn"
        )
        print(f"{cost.arm}: {plural(count, 'training')} of {steps} steps of {cost.seconds:.3f} s, {times}")
    print(f"{plural(len(cells), 'training')}: {format_time(seconds)} on this machine, and time to validate and predict")
    for claim in study.hypotheses:
        folds, seeds = len(study.folds), len(study.common_seeds(claim.arm, claim.against))
        halves = [half for count in sorted({seeds, 1}, reverse=True) if (half := expected_half_width(folds, count))]
        width = " to ".join(f"\N{PLUS-MINUS SIGN}{half:.4f}" for half in halves) or "cannot be said for a single fold"
        print(f"{claim.arm} against {claim.against}, {plural(folds * seeds, 'pair')} of trainings: interval {width}")
    print(
        f"if the standard deviation between pairs is {ASSUMED_SD}, as on hippocampus crops; on phantoms 0.014 to 0.23"
    )
