"""Write what a study has found so far, from the results of its finished cells: tables, sentences, a picture, a page."""

import logging
from collections.abc import Sequence
from pathlib import Path

from attention_unet.errors import plural
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text
from attention_unet.files.lock import folder_lock
from attention_unet.report.page import STUDY, build_page
from attention_unet.study.costs import read_costs
from attention_unet.study.design import Study, size_name
from attention_unet.study.finished import Results, read_records, read_results
from attention_unet.study.maps import read_maps
from attention_unet.study.page import describe_study
from attention_unet.study.picture import draw_study
from attention_unet.study.registration import Registration, check_unchanged
from attention_unet.study.scores import HEAD, row_of
from attention_unet.study.verdicts import Verdict, judge

log = logging.getLogger(__name__)

SENTENCES, TABLE, PICTURE, RESULTS, PAGE = "study.md", "verdicts.csv", "study.png", "results.csv", "study.html"
UNDECIDED = ("not decided", "no result")
WAITING = 600.0  # seconds that another process may take to write
NUMBERS = ("gain", "error", "freedom", "low95", "high95", "low90", "high90", "p", "p_holm")


def write_study(study: Study, registration: Registration, folder: Path) -> list[Verdict]:
    """Write verdicts and results of the cells that are done into the folder of the study. Return the verdicts.

    Raise ConfigError if a cell was run with another configuration, or the study was amended meanwhile; DataError if
    results are damaged, or trainings that are compared had different data.
    """
    with folder_lock(folder, WAITING):  # of processes that end together, the last one writes what all have found
        check_unchanged(registration, folder)
        records = read_records(study, registration, folder)
        results = read_results(records, folder)
        verdicts = judge(study, results)
        costs, maps = read_costs(study, registration, folder), read_maps(study, registration, folder)
        facts = describe_study(study, registration, records, verdicts, results, costs, maps)
        write_text(folder / RESULTS, _results_csv(results))
        write_text(folder / TABLE, _verdicts_csv(verdicts))
        write_text(
            folder / SENTENCES, _describe(study, registration, [*map(str, verdicts), *facts["warnings"]], len(results))
        )
        write_text(folder / PAGE, build_page(study.question, facts, {}, STUDY))
        if results:
            draw_study(verdicts, study.margin, facts["curves"], folder / PICTURE)
    for text in facts["warnings"]:
        log.warning("%s", text)
    return verdicts


def _describe(study: Study, registration: Registration, sentences: Sequence[str], done: int) -> str:
    """Return sentences as text, with what was recorded."""
    claims = len(study.hypotheses) * len(study.persons)
    lines = [f"# {study.question}", "", *(f"- {sentence}" for sentence in sentences), ""]
    lines.append(
        f"{done} of {plural(len(study.cells()), 'training')} finished. Margin: {study.margin:g} of mean Dice. P values "
        f"are corrected by Holm for {plural(claims, 'claim')}."
    )
    return "\n".join([*lines, *registration.sentences()]) + "\n"


def _results_csv(results: Results) -> str:
    rows = [
        [cell.arm, size_name(cell.persons), cell.seed, cell.fold, *row_of(score)]
        for cell, scores in results.items()
        for score in scores
    ]
    return csv_text([["arm", "persons", "seed", "fold", *HEAD], *rows])


def _verdicts_csv(verdicts: Sequence[Verdict]) -> str:
    head = ["arm", "against", "expect", "persons", "verdict", "robust", "trainings", "missing", *NUMBERS]
    rows = []
    for each in verdicts:
        claim, gain = each.claim, each.gain
        robust = "" if each.outcome in UNDECIDED else str(each.robust).lower()
        names = [claim.arm, claim.against, claim.expect, size_name(each.persons), each.outcome, robust]
        numbers = (gain.mean, gain.error, gain.freedom, *gain.interval(0.95), *gain.interval(0.9), each.p, each.p_holm)
        rows.append([*names, len(gain.by_pair), gain.missing, *(f"{number:.6g}" for number in numbers)])
    return csv_text([head, *rows])
