"""Download a public dataset: continue where a download stopped, check its hash, unpack it, move it into place."""

import http.client
import logging
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from monai.apps import DecathlonDataset
from monai.apps.utils import check_hash, extractall

from attention_unet.errors import DataError
from attention_unet.files.lock import folder_lock
from attention_unet.machine.progress import progress_bar

BLOCK, MB = 2**20, 10**6
TIMEOUT = 60  # seconds without an answer
NO_MORE = 416  # answer of a server that has no byte after those that are here


@dataclass(frozen=True)
class PublicDataset:
    """Source of a public dataset.

    Attributes:
        url: address of a tar archive.
        md5: hash of the archive, as in MONAI's DecathlonDataset; the publishers give no other.
        folder: name of the folder in the archive.
    """

    url: str
    md5: str
    folder: str


LICENCE = (
    "CC BY-SA 4.0, Simpson et al. 2019, arXiv:1902.09063, and Antonelli et al. 2022, doi:10.1038/s41467-022-30695-9"
)
DATASETS = {  # the MR tasks of the Medical Segmentation Decathlon
    name: PublicDataset(DecathlonDataset.resource[task], DecathlonDataset.md5[task], task)
    for name, task in {
        "hippocampus": "Task04_Hippocampus",  # 27 MB
        "prostate": "Task05_Prostate",  # 229 MB
        "heart": "Task02_Heart",  # 435 MB
        "brain-tumour": "Task01_BrainTumour",  # 7.1 GB
    }.items()
}


def fetch(dataset: PublicDataset, root: Path) -> Path:
    """Download and unpack a dataset into a new folder in ``root``. A complete folder is not downloaded again.

    Returns:
        The dataset's folder.

    Raises:
        DataError: if the folder is incomplete, the space does not suffice, the download fails, the hash differs, or the
            disk cannot be written.
        Busy: if another process downloads it.
    """
    target = root / dataset.folder
    if (target / "dataset.json").is_file():
        return target
    if os.path.lexists(target):
        raise DataError(f"{target}: exists, but has no dataset.json: remove it, and fetch again")
    logging.getLogger("monai.apps").setLevel(logging.CRITICAL)  # it would print on standard output
    folder = root / f".fetch-{dataset.folder}"
    archive, content = folder / "archive.tar", folder / "content"
    try:
        with folder_lock(folder, patience=0):
            _download(dataset.url, archive)
            if not check_hash(archive, dataset.md5, "md5"):
                archive.unlink()
                raise DataError(f"{dataset.url}: expected an archive with md5 {dataset.md5}, got another: try again")
            shutil.rmtree(content, ignore_errors=True)  # of a process that was killed: it is not complete
            try:
                extractall(archive, content, has_base=False)  # refuses links and members outside the folder
                if not (content / dataset.folder / "dataset.json").is_file():
                    raise ValueError(f"it holds no {dataset.folder} with a dataset.json")
                (content / dataset.folder).replace(target)
            except (ValueError, tarfile.TarError) as error:
                archive.unlink()
                text = f"{dataset.url}: cannot be unpacked safely ({error}): nothing was kept"
                raise DataError(text) from error
            finally:
                shutil.rmtree(content, ignore_errors=True)
                if target.exists():
                    archive.unlink()
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise DataError(f"{dataset.url}: download failed ({error}): repeat the command to continue") from error
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({error.strerror}): free space, or change --root") from error
    finally:
        with suppress(OSError):  # it is not empty if the archive stays, or another process is in it
            folder.rmdir()
    return target


def _download(url: str, archive: Path) -> None:
    """Download a file, or what is missing of it.

    Raises:
        DataError: if the disk has no space for the archive and its content.
    """
    there = archive.stat().st_size if archive.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if there and error.code == NO_MORE:
            return
        raise
    with answer:
        there = there if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        total = there + int(answer.headers["Content-Length"] or 0)  # some proxies do not say
        needed, free = 2 * total - there, shutil.disk_usage(archive.parent).free
        if needed > free:
            raise DataError(
                f"{archive.parent.parent}: has {free // MB} MB free: expected {needed // MB} MB, for archive and "
                "content; free space, or change --root"
            )
        with archive.open("ab" if there else "wb") as file, progress_bar("downloading, MB", total // MB) as done:
            while block := answer.read(BLOCK):
                file.write(block)
                done(file.tell() // MB)
    if (size := archive.stat().st_size) < total:
        raise ConnectionError(f"{size} of {total} bytes came")
