"""Find the masks to evaluate, their classes and scans: by file names in a folder, or by entities in a BIDS dataset."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from attention_unet.dataset.bids import is_bids_tree, name_classes, names_in_tables
from attention_unet.dataset.cases import Case
from attention_unet.dataset.channel_files import group_channels
from attention_unet.dataset.description import describe_labels, find_labels_in_files
from attention_unet.dataset.reading import without_absent_files
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.evaluation.bids_masks import images_of_scans, pair_masks
from attention_unet.files.json_file import parse_object, read_object
from attention_unet.files.prediction_folder import PARTS
from attention_unet.files.prediction_record import RECORD
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import list_series, list_unread, list_volumes, shared_folders, volumes_by_case

log = logging.getLogger(__name__)


def is_of_bids(predictions: Path, references: Path) -> bool:
    """Return whether masks are paired by entities: at least one folder has folders of participants."""
    return is_bids_tree(predictions) or is_bids_tree(references)


def find_masks(predictions: Path, references: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return true and predicted label maps by case. A case is a file name without ending, or as in ``pair_masks``.

    Raise ConfigError if there are no true label maps, DataError if a case has two.
    """
    if is_of_bids(predictions, references):
        return pair_masks(predictions, references)
    known = volumes_by_case(references)
    below = [f"{path.name}{os.sep}" for path in shared_folders(references, predictions) if path.name not in PARTS]
    if not known:
        advice = f"; name one of {first_few(below)}" if below else "; check the path"
        raise ConfigError(f"{references}: holds no image file: expected the true label maps{advice}")
    if below:
        log.warning("%s: not scored: %s: evaluate each folder by itself", references, first_few(below))
    for folder in (predictions, references):
        if unread := list_unread(folder):
            log.warning("%s: not read: %s", folder, first_few(unread))
    return known, volumes_by_case(predictions)


def find_images(folder: Path, ids: Sequence[str], predicted: Mapping[str, Path], of_bids: bool) -> dict[str, Case]:
    """Return the scans of a folder as cases. One may lack channels."""
    if of_bids:
        return {case: Case(case, paths) for case, paths in images_of_scans(folder, ids, predicted).items()}
    grouped = group_channels([*list_volumes(folder), *list_series(folder)], wanted=ids)
    return {case: without_absent_files(Case(case, paths)) for case, paths in grouped.items()}


def description_beside(references: Path) -> Path:
    """Return ``dataset.json`` beside the folder of the references, also if that is given as "." or ".."."""
    return Path(os.path.abspath(references)).parent / "dataset.json"


def find_labels(
    predictions: Path, references: Path, known: Mapping[str, Path], predicted: Mapping[str, Path], ids: Sequence[str]
) -> Labels:
    """Find the classes to score.

    They come from the first of these: ``dataset.json`` beside the folder of the references, if it describes labels;
    ``run.json`` beside the predictions; ``dataset.json`` in the folder of the predictions, which nnU-Net writes; the
    integers in the references. Of BIDS datasets, tables name these integers; tables that call a class otherwise are
    reported. Raise DataError if the description that decides is damaged, or tables differ.
    """
    of_cases = {case: known[case] for case in ids}
    masks = [predicted[case] for case in ids if case in predicted]
    records = [folder / RECORD for folder in dict.fromkeys([predictions, *sorted({mask.parent for mask in masks})])]
    found: dict[Path, Labels] = {}
    for file in (description_beside(references), *records, predictions / "dataset.json"):
        try:
            found |= _describe(file)
        except DataError as error:
            if not found:  # otherwise it does not decide the classes
                raise
            log.warning("not read: %s", error)
    if found:
        file, labels = next(iter(found.items()))
        _warn_of_other_classes(file, labels, found)
        if file.name == RECORD and is_of_bids(predictions, references):
            _warn_of_other_names(labels, references, list(of_cases.values()))
        return labels
    labels = find_labels_in_files(of_cases, {})  # unreadable files fail when they are scored
    if is_of_bids(predictions, references):
        labels = name_classes(references, labels, of_cases.values())
        _warn_of_other_names(labels, predictions, masks)
    return labels


def _describe(file: Path) -> dict[Path, Labels]:
    """Return the classes in the record of a prediction or in a ``dataset.json``; nothing if there is none."""
    if not os.path.lexists(file):
        return {}
    if file.name == RECORD:
        advice = "expected what predict writes; remove it"
        return {file: parse_object(file, lambda plain: Labels.from_json(plain["labels"]), advice)}
    return {file: describe_labels(file)} if "labels" in read_object(file) else {}


def _warn_of_other_classes(decisive: Path, labels: Labels, found: Mapping[Path, Labels]) -> None:
    """Warn of records with other classes than the decisive one, and of classes that have other integers elsewhere."""
    for file, others in found.items():
        if decisive.name == file.name == RECORD and others != labels:
            text = f"{file}: is of the classes {others.names}, elsewhere {labels.names}"
            log.warning("%s: only these are scored", text)
        for name, group in labels.integers.items():
            if not set(others.integers.get(name, group)) & set(group):
                text = f"{file}: {name} is {others.integers[name]}, but is scored as {group}"
                log.warning("%s: are these masks of other classes than the references?", text)


def _warn_of_other_names(labels: Labels, root: Path, label_maps: Sequence[Path]) -> None:
    """Warn of tables that call the integer of a class otherwise."""
    called = names_in_tables(root, label_maps)
    for name, group in labels.integers.items():
        for value in group:
            if called.get(value, name) != name:
                log.warning("%s: %d is called %s, but scored as %s: is it one class?", root, value, called[value], name)
