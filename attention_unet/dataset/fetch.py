"""Get a public dataset: resume a broken download, check it, unpack it safely."""

import http
import http.client
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from monai.apps.utils import check_hash, extractall

from attention_unet.errors import DataError

CHUNK = 1 << 20
DATASET_JSON = "dataset.json"
PAUSES = (1.0, 5.0)  # seconds before trying again


class BrokenOff(DataError):
    """The server cannot be reached any more; another try may go on."""


@dataclass(frozen=True)
class PublicDataset:
    """Where a dataset is had and how it is known to be whole.

    Attributes:
        url: of a tar archive that unpacks to one folder.
        md5: of the archive, as MONAI's DecathlonDataset states it; publishers give no other sum.
        most_bytes: that it may unpack to.
        folder: name of the folder inside the archive.
        licence: to respect and to name.
    """

    url: str
    md5: str
    most_bytes: int
    folder: str
    licence: str


DATASETS = {
    "hippocampus": PublicDataset(
        url="https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar",
        md5="9d24dba78a72977dbd1d2e110310f31b",
        most_bytes=2**30,
        folder="Task04_Hippocampus",
        licence="CC BY-SA 4.0, Simpson et al. 2019, arXiv:1902.09063",
    ),
}


def fetch(dataset: PublicDataset, root: Path, progress: Callable[[int, int | None], None]) -> Path:
    """Download and unpack a dataset below ``root``; whatever is there already is not fetched again.

    Args:
        dataset: which.
        root: folder to put it in.
        progress: called with the bytes so far and the bytes in all, if the server says how many.

    Returns:
        The dataset's folder.

    Raises:
        DataError: if the server cannot be reached, or sends something else than it should.
    """
    target = root / dataset.folder
    if (target / DATASET_JSON).is_file():
        return target
    if target.exists():
        raise DataError(f"{target}: is there, but holds no {DATASET_JSON}: remove it, and fetch again")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({error.strerror}): name another place by --root") from error
    archive = root / f"{dataset.folder}.tar"
    partial = root / f"{dataset.folder}.tar.part"
    if not archive.is_file():
        _insist(dataset.url, partial, progress)
        if not check_hash(partial, dataset.md5, "md5"):
            partial.unlink()
            raise DataError(f"{dataset.url}: sent something else than expected (checksum differs): removed; try again")
        partial.replace(archive)
    unpacked = root / f".unpacking-{dataset.folder}"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        _check_members(archive, dataset.most_bytes)
        extractall(archive, unpacked, dataset.md5, "md5", has_base=False)  # refuses what would leave the folder
        if not (unpacked / dataset.folder / DATASET_JSON).is_file():
            raise DataError(
                f"{archive}: holds no {dataset.folder}/{DATASET_JSON}: expected that; remove it and try again"
            )
        (unpacked / dataset.folder).replace(target)
    except (ValueError, RuntimeError, tarfile.TarError) as error:
        raise DataError(f"{archive}: cannot be unpacked safely ({error}): remove it and try again") from error
    except OSError as error:
        raise DataError(
            f"{root}: cannot be unpacked to ({error.strerror}): free space, or name another --root"
        ) from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()
    return target


def _check_members(archive: Path, most_bytes: int) -> None:
    """Refuse an archive of more than files and folders, or of more than it should unpack to.

    Raises:
        ValueError: saying which member.
    """
    total = 0
    with tarfile.open(archive) as opened:
        for member in opened:
            if not (member.isfile() or member.isdir()):
                raise ValueError(f"{member.name} is neither a file nor a folder")
            total += member.size
            if total > most_bytes:
                raise ValueError(f"unpacks to more than {most_bytes} bytes")


def _insist(url: str, partial: Path, progress: Callable[[int, int | None], None]) -> None:
    """Download; where the line breaks off, go on a few times by itself."""
    for wait in PAUSES:
        with suppress(BrokenOff):
            _download(url, partial, progress)
            return
        time.sleep(wait)
    _download(url, partial, progress)


def _download(url: str, partial: Path, progress: Callable[[int, int | None], None]) -> None:
    """Add to what an earlier try left, if the server can go on from there; else begin anew."""
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
            have = have if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with partial.open("ab" if goes_on else "wb") as file:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    progress(have, total)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it was there already; the checksum decides
        raise DataError(f"{url}: the server says {error.code} {error.reason}: try later") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and error.filename == str(partial):
            raise DataError(
                f"{partial}: cannot be written ({error.strerror}): free space, or name another --root"
            ) from error
        raise BrokenOff(f"{url}: broken off or out of reach ({error}): call again to go on where it stopped") from error
    if total is not None and have < total:
        raise BrokenOff(f"{url}: broken off after {have} of {total} bytes: call again to go on where it stopped")
