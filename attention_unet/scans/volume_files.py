"""Find files of volumes in folders, and name volumes by their files."""

import os
from collections.abc import Iterable
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.files.broken_link import is_broken_link
from attention_unet.scans import itk, mgh, nifti
from attention_unet.scans.dicom import is_readable_dicom, is_series
from attention_unet.scans.itk_header import data_files

ENDINGS = (*nifti.ENDINGS, *itk.ENDINGS, *mgh.ENDINGS)
NOTE_ENDINGS = (  # of files that are often in folders of scans, and are no scans
    *(".json", ".txt", ".tsv", ".csv", ".md", ".xml", ".html", ".yaml", ".yml", ".log", ".bval", ".bvec"),
    *(".png", ".jpg", ".jpeg", ".pdf"),
)


def stem(path: Path) -> str:
    """Return the name of a volume's file without its ending, such as .nii.gz, or the name of a DICOM folder.

    Bytes that are not UTF-8 are replaced, so that the names of files written from it are valid everywhere. Raise
    DataError if the name has no ending of a volume.
    """
    name = os.fsencode(path.name).decode("utf-8", "replace")
    if os.path.isdir(path):
        return name
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    raise DataError(f"{path}: its name is not that of a volume: expected {', '.join(ENDINGS)}; convert it first")


def is_volume(path: Path) -> bool:
    """Return whether a file is a volume by its name. A hidden file is not. A broken link is: reading it fails."""
    exists = os.path.isfile(path) or is_broken_link(path)
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".") and exists


def list_volumes(folder: Path) -> list[Path]:
    """Return the volumes of a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_volume(path))


def shared_folders(one: Path, other: Path) -> list[Path]:
    """Return the folders in a folder that hold volumes, at any depth, and that another folder has by the same name."""
    shared = [path for path in sorted(one.glob("[!.]*/")) if (other / path.name).is_dir()]
    return [path for path in shared if any(map(is_volume, path.rglob("*")))]


def list_series(folder: Path) -> list[Path]:
    """Return the folders of DICOM series in a folder, sorted by name. One that also holds other volumes is none."""
    return [path for path in sorted(folder.iterdir()) if is_series(path) and not list_volumes(path)]


def list_unread(folder: Path) -> list[str]:
    """Return the names of files in a folder that may be scans but are not read.

    They are files of other formats, special files, and files that cannot be opened. Hidden files, notes, pictures,
    DICOM files and data files named by a header are left out.
    """
    volumes = list_volumes(folder)
    read = {*volumes, *(file for volume in volumes if os.path.isfile(volume) for file in data_files(volume))}
    unread = []
    for path in sorted(folder.iterdir()):
        is_note = path.name.startswith(".") or path.name.lower().endswith(NOTE_ENDINGS)
        is_folder = os.path.isdir(path) and not path.name.lower().endswith(ENDINGS)
        if path not in read and not is_note and not is_folder and not is_readable_dicom(path):
            unread.append(path.name)
    return unread


def volumes_by_case(folder: Path) -> dict[str, Path]:
    """Return the volumes of a folder, as ``files_by_name``."""
    return files_by_name(list_volumes(folder))


def files_by_name(paths: Iterable[Path]) -> dict[str, Path]:
    """Return volumes by their names without endings. Raise DataError if two are the same, as of a.nii and a.nii.gz."""
    volumes: dict[str, Path] = {}
    for path in paths:
        name = stem(path)
        if name in volumes:
            raise DataError(f"{path}: the case exists twice, also as {volumes[name].name}: expected one file; keep one")
        volumes[name] = path
    return volumes


def list_files(path: Path) -> list[Path]:
    """Return all files of a volume: those of a DICOM folder that are not hidden, or the header and its data file."""
    if os.path.isdir(path):
        return [file for file in sorted(path.iterdir()) if os.path.isfile(file) and not file.name.startswith(".")]
    return [path, *(file for file in data_files(path) if os.path.isfile(file))]


def file_ending(path: Path) -> str:
    """Return the ending of a single file in the format of a volume. For a DICOM folder it is that of NIfTI."""
    if os.path.isdir(path) or not path.name.lower().endswith(itk.ENDINGS):
        return ".nii.gz"
    return ".nrrd" if path.suffix.lower() in itk.NRRD else ".mha"
