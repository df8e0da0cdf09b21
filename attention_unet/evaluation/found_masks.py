"""Find the masks to evaluate, their classes and scans: by file names in a folder, or by entities in a BIDS dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attention_unet.dataset.bids import images_by_scan, is_bids_tree, masks_by_scan, name_classes_of
from attention_unet.dataset.cases import group_channels
from attention_unet.dataset.description import describe_labels, find_labels_in_files
from attention_unet.files.json_file import parse_object, read_object
from attention_unet.files.prediction_record import RECORD
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import list_volumes, volumes_by_case


def find_masks(folder: Path) -> dict[str, Path]:
    """Return label maps by case: by file name without ending, or by the entities that they share with their scan.

    Raises:
        DataError: if a case has two.
    """
    return masks_by_scan(folder) if is_bids_tree(folder) else volumes_by_case(folder)


def find_images(folder: Path, ids: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Return the images of cases; of a BIDS dataset one of each."""
    if is_bids_tree(folder):
        return {case: (path,) for case, path in images_by_scan(folder).items() if case in ids}
    return group_channels(list_volumes(folder), wanted=ids)


def participants_of(folder: Path, ids: Sequence[str]) -> dict[str, str]:
    """Return the participant of each case of a BIDS dataset; nothing for another folder."""
    return {case: case.partition("_")[0] for case in ids} if is_bids_tree(folder) else {}


def find_labels(
    predictions: Path, references: Path, known: Mapping[str, Path], predicted: Mapping[str, Path], ids: Sequence[str]
) -> Labels:
    """Find the classes to score.

    They come from the first of these: ``dataset.json`` beside the folder of the references, if it describes labels;
    ``run.json`` beside the predictions; ``dataset.json`` in the folder of the predictions, which nnU-Net writes; the
    integers in the references, in a BIDS dataset with the names of its tables.

    Args:
        predictions: folder of the predicted label maps.
        references: folder of the true label maps.
        known: true label map by case.
        predicted: predicted label map by case.
        ids: cases to score.

    Raises:
        DataError: if a description is damaged.
    """
    description = references.parent / "dataset.json"
    if description.is_file() and "labels" in read_object(description):
        return describe_labels(description)
    for folder in (predictions, *sorted({predicted[case].parent for case in ids if case in predicted})):
        if (run := folder / RECORD).is_file():
            return parse_object(
                run, lambda plain: Labels.from_json(plain["labels"]), "expected what predict writes; remove it"
            )
    beside = predictions / "dataset.json"
    if beside.is_file() and "labels" in read_object(beside):
        return describe_labels(beside)
    of_cases = {case: known[case] for case in ids}  # unreadable files fail when they are scored
    if is_bids_tree(references):
        return name_classes_of(references, of_cases)
    return find_labels_in_files(of_cases, {})
