"""Download a public dataset: continue where a download stopped, check its hash, unpack it, move it into place."""

import http.client
import logging
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO

from monai.apps import DecathlonDataset
from monai.apps.utils import check_hash, extractall

from attention_unet.errors import DataError
from attention_unet.files.lock import folder_lock
from attention_unet.machine.progress import progress_bar

BLOCK, MB = 2**20, 10**6
TIMEOUT = 60  # seconds without an answer
NO_MORE = 416  # answer of a server that has no byte after those that are here

LICENCE = (
    "CC BY-SA 4.0, Simpson et al. 2019, arXiv:1902.09063, and Antonelli et al. 2022, doi:10.1038/s41467-022-30695-9"
)
DATASETS = {  # the MR tasks of the Medical Segmentation Decathlon
    "hippocampus": "Task04_Hippocampus",  # 27 MB
    "prostate": "Task05_Prostate",  # 229 MB
    "heart": "Task02_Heart",  # 435 MB
    "brain-tumour": "Task01_BrainTumour",  # 7.1 GB
}


def fetch(task: str, root: Path) -> Path:
    """Download and unpack a task into a new folder in ``root``, and return it. A complete folder is not fetched again.

    Address and MD5 of the archive are those of MONAI; the publishers give no other hash. Raise DataError if the folder
    is incomplete, the space does not suffice, the download fails, the hash differs, or the disk cannot be written; Busy
    if another process downloads it.
    """
    url, md5, target = DecathlonDataset.resource[task], DecathlonDataset.md5[task], root / task
    if (target / "dataset.json").is_file():
        return target
    if os.path.lexists(target):
        raise DataError(f"{target}: exists, but has no dataset.json: remove it, and fetch again")
    logging.getLogger("monai.apps").setLevel(logging.CRITICAL)  # it would print on standard output
    folder = root / f".fetch-{task}"
    archive, content = folder / "archive.tar", folder / "content"
    try:
        with folder_lock(folder, patience=0):
            _download(url, archive)
            if not check_hash(archive, md5, "md5"):
                archive.unlink()
                raise DataError(f"{url}: expected an archive with md5 {md5}, got another: try again")
            shutil.rmtree(content, ignore_errors=True)  # of a process that was killed: it is not complete
            try:
                extractall(archive, content, has_base=False)  # refuses links and members outside the folder
                if not (content / task / "dataset.json").is_file():
                    raise ValueError(f"it holds no {task} with a dataset.json")
                (content / task).replace(target)
            except (ValueError, tarfile.TarError) as error:
                archive.unlink()
                text = f"{url}: cannot be unpacked safely ({error}): nothing was kept"
                raise DataError(text) from error
            finally:
                shutil.rmtree(content, ignore_errors=True)
                if target.exists():
                    archive.unlink()
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise DataError(f"{url}: download failed ({error}): repeat the command to continue") from error
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({error.strerror}): free space, or change --root") from error
    finally:
        with suppress(OSError):  # it is not empty if the archive stays, or another process is in it
            folder.rmdir()
    return target


def _download(url: str, archive: Path) -> None:
    """Download a file, or what is missing of it. Raise DataError if the disk has no space for it and its content."""
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
            while block := _receive(answer):
                file.write(block)
                done(file.tell() // MB)
    if (size := archive.stat().st_size) < total:
        raise ConnectionError(f"{size} of {total} bytes came")


def _receive(answer: IO[bytes]) -> bytes:
    """Return the next block, empty at the end. An error of the network is then not taken for one of the disk."""
    try:
        return answer.read(BLOCK)
    except OSError as error:
        raise ConnectionError(error) from error
