"""Get a public dataset: resume a broken download, check it, unpack it safely."""

import http
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from monai.apps.utils import check_hash, extractall

from attention_unet.errors import DataError

CHUNK = 1 << 20


@dataclass(frozen=True)
class PublicDataset:
    """Where a dataset is had and how it is known to be whole.

    Attributes:
        url: of a tar archive that unpacks to one folder.
        md5: of the archive, as MONAI's DecathlonDataset states it; publishers give no other sum.
        folder: name of the folder inside the archive.
        licence: to respect and to name.
    """

    url: str
    md5: str
    folder: str
    licence: str


DATASETS = {
    "hippocampus": PublicDataset(
        url="https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar",
        md5="9d24dba78a72977dbd1d2e110310f31b",
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
    if target.is_dir():
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({error.strerror}): name another place by --root") from error
    archive = root / f"{dataset.folder}.tar"
    partial = root / f"{dataset.folder}.tar.part"
    if not archive.is_file():
        _download(dataset.url, partial, progress)
        if not check_hash(partial, dataset.md5, "md5"):
            partial.unlink()
            raise DataError(f"{dataset.url}: sent something else than expected (checksum differs): removed; try again")
        partial.replace(archive)
    unpacked = root / f".unpacking-{dataset.folder}"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        # MONAI's extractor refuses members that leave the folder, and links and devices.
        extractall(archive, unpacked, dataset.md5, "md5", has_base=False)
        if not (unpacked / dataset.folder / "dataset.json").is_file():
            raise DataError(
                f"{archive}: holds no {dataset.folder}/dataset.json: expected that; remove it and try again"
            )
        (unpacked / dataset.folder).replace(target)
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{archive}: cannot be unpacked safely ({error}): remove it and try again") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()
    return target


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
        raise DataError(f"{url}: broken off or out of reach ({error}): call again to go on where it stopped") from error
    if total is not None and have < total:
        raise DataError(f"{url}: broken off after {have} of {total} bytes: call again to go on where it stopped")
