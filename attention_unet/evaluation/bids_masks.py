"""Pair predicted and true label maps of BIDS datasets by the entities of their names (bids-specification 1.10)."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from attention_unet.dataset.bids import MASKS, NOT_READ, NamedVolume, named_volumes, scan_id
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.files.json_file import read_object
from attention_unet.scans.volume_files import stem

log = logging.getLogger(__name__)

STRUCTURES = ("hemi", "label", "seg", "atlas")  # entities that name what a label map shows
SHOWN = ("hemi-", "label-")  # those that name one structure of several
NATIVE = ("orig", "T1w", "T2w", "individual", "scanner", "")  # names of the space of the scan itself


def pair_masks(predictions: Path, references: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return true and predicted label maps by case.

    A case is called by the entities of its scan, or by all entities if a scan has several true label maps. Label maps
    have the suffix dseg or, if the references have none, mask. Predictions have the same suffix, or the other one if
    they have none with it. Predictions without reference have a name of their own. Raise ConfigError if a folder holds
    no label map of that kind, DataError if several predictions fit a reference, or one fits references of different
    structures.
    """
    true, others = named_volumes(references)
    kind = _kind_of(true, MASKS)
    known = _of_kind(references, true, others, kind)
    named, others = named_volumes(predictions)
    found = _of_kind(predictions, named, others, _kind_of(named, (kind, *MASKS)))
    counts = Counter(scan_id(volume.entities) for volume in known)
    by_scan = _group(found)
    cases: dict[str, Path] = {}
    partial: list[str] = []
    structures: dict[Path, list[str]] = {}  # that the references of a prediction show by their names
    predicted: dict[str, Path] = {}
    for volume in known:
        scan = scan_id(volume.entities)
        case = scan if counts[scan] == 1 else volume.entities
        if case in cases:
            raise DataError(f"{volume.path}: {case} has two label maps, also {cases[case]}: expected one; keep one")
        cases[case] = volume.path
        if mask := _best(volume, by_scan.get(_scan(volume.entities), [])):
            unshared = set(volume.entities.split("_")) - set(mask.entities.split("_"))
            shown = [part for part in sorted(unshared) if part.startswith(SHOWN)]
            if structures.setdefault(mask.path, shown) != shown:
                raise DataError(
                    f"{volume.path}: {mask.path.name} is the prediction for it and for label maps of other structures "
                    "of this scan: expected one label map with all structures; join them"
                )
            partial += [f"{volume.path.name} ({first_few(shown)})"] * bool(shown)
            predicted[case] = mask.path
    if partial:
        text = "label maps of one structure by their names, unlike the predictions: check that both show the same: %s"
        log.warning(text, first_few(partial))
    paired = set(predicted.values())
    unpaired = {volume.entities: volume.path for volume in found if volume.path not in paired}
    return cases, {**unpaired, **predicted}


def images_of_scans(folder: Path, cases: Sequence[str], predicted: Mapping[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Return the images of cases: those that ``predict`` names beside a mask, otherwise the first by name."""
    by_scan = _group([volume for volume in named_volumes(folder)[0] if volume.suffix not in MASKS])
    images = {}
    for case in cases:
        named = _sources(folder, predicted[case]) if case in predicted else ()
        if volumes := by_scan.get(_scan(case)):
            images[case] = named or (volumes[0].path,)
    first = {path.name.partition(".")[0].rpartition("_")[2] for paths in images.values() for path in paths[:1]}
    if images:
        log.info("%s: pictures show %s", folder, first_few(sorted(first)))
    return images


def _sources(folder: Path, mask: Path) -> tuple[Path, ...]:
    """Return the images from which predict made a mask; none if it does not say, or they are gone."""
    file = mask.with_name(f"{stem(mask)}.json")
    try:
        named = read_object(file).get("Sources") if file.is_file() else None
    except DataError as error:
        log.warning("%s; the picture shows the first scan by name", error)
        return ()
    paths = tuple(folder / str(source).rpartition(":")[2] for source in named) if isinstance(named, list) else ()
    return paths if all(path.exists() for path in paths) else ()


def _group(volumes: Sequence[NamedVolume]) -> dict[str, list[NamedVolume]]:
    """Group volumes by their scan."""
    grouped: dict[str, list[NamedVolume]] = {}
    for volume in volumes:
        grouped.setdefault(_scan(volume.entities), []).append(volume)
    return grouped


def _scan(entities: str) -> str:
    """Return the entities of a scan in a fixed order."""
    return "_".join(sorted(scan_id(entities).split("_")))


def _kind_of(volumes: Sequence[NamedVolume], kinds: Sequence[str]) -> str:
    """Return the first of some suffixes that a volume has; the first of all if none has any."""
    return next((kind for kind in kinds if any(volume.suffix == kind for volume in volumes)), kinds[0])


def _of_kind(folder: Path, volumes: Sequence[NamedVolume], others: Sequence[Path], kind: str) -> list[NamedVolume]:
    """Return the label maps with the suffix ``kind`` or without any. Warn of the volumes that are not read."""
    chosen = [volume for volume in volumes if volume.suffix in (kind, "")]
    rest = [volume.path for volume in volumes if volume.suffix not in (kind, "")]
    if not chosen:
        held = first_few([path.name for path in (*rest, *others)]) or "no volume"
        raise ConfigError(
            f"{folder}: holds no label map sub-*_{kind}.nii.gz, but {held}: name the folder whose sub-* folders hold "
            "them, such as derivatives/NAME of a dataset"
        )
    if masks := [path.name for path in rest if path.name.partition(".")[0].endswith(MASKS)]:
        log.warning("%s: only label maps *_%s are compared, not %s", folder, kind, first_few(masks))
    if others:
        log.warning("%s: %s: %s", folder, NOT_READ, first_few([str(path.relative_to(folder)) for path in others]))
    return chosen


def _best(reference: NamedVolume, found: Sequence[NamedVolume]) -> NamedVolume | None:
    """Return the prediction of a scan whose name agrees best with that of a reference; None if there is none."""
    entities = _values(reference)
    agreement: list[tuple[bool, int, NamedVolume]] = []
    for volume in found:
        own = _values(volume)
        if any(key in own and key in entities and own[key] != entities[key] for key in STRUCTURES):
            continue
        same_space = own.get("space", "") == entities.get("space", "") or all(
            each.get("space", "") in NATIVE for each in (own, entities)
        )
        agreement.append((same_space, sum(own.get(key) == value for key, value in entities.items()), volume))
    if not agreement:
        return None
    best = max(each[:2] for each in agreement)
    chosen = [volume for *rank, volume in agreement if tuple(rank) == best]
    if len(chosen) > 1:
        raise DataError(
            f"{chosen[0].path}: {reference.path.name} has two predictions, also {chosen[1].path.name}: expected one; "
            "move one to another folder"
        )
    return chosen[0]


def _values(volume: NamedVolume) -> dict[str, str]:
    return dict(part.split("-", 1) for part in volume.entities.split("_"))
