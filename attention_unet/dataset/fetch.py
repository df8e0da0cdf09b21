"""Download a public dataset with MONAI: check its hash, unpack it and move it to its folder at once."""

import http.client
import logging
import socket
import tarfile
import tempfile
import urllib.error
from dataclasses import dataclass
from pathlib import Path

from monai.apps.utils import HashCheckError, download_url, extractall

from attention_unet.errors import DataError


@dataclass(frozen=True)
class PublicDataset:
    """Source of a public dataset.

    Attributes:
        url: address of a tar archive.
        md5: hash of the archive, as in MONAI's DecathlonDataset; the publishers give no other.
        folder: name of the folder in the archive.
        licence: licence and reference.
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


def fetch(dataset: PublicDataset, root: Path) -> Path:
    """Download and unpack a dataset into a new folder in ``root``. A complete folder is not downloaded again.

    Returns:
        The dataset's folder.

    Raises:
        DataError: if the folder is incomplete, the download fails, the hash differs, or the disk cannot be written.
    """
    target = root / dataset.folder
    if (target / "dataset.json").is_file():
        return target
    if target.exists():
        raise DataError(f"{target}: exists, but has no dataset.json: remove it, and fetch again")
    logging.getLogger("monai.apps").setLevel(logging.CRITICAL)  # it would print on standard output
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(60)  # seconds; MONAI has no timeout
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as folder:
            archive, content = Path(folder, "archive.tar"), Path(folder, "content")
            download_url(dataset.url, archive, dataset.md5, "md5", progress=False)
            extractall(archive, content, has_base=False)  # refuses links and members outside the folder
            (content / dataset.folder).replace(target)
    except HashCheckError as error:
        raise DataError(f"{dataset.url}: expected an archive with md5 {dataset.md5}, got another: try again") from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise DataError(f"{dataset.url}: download failed ({error}): check the network, and try again") from error
    except (ValueError, tarfile.TarError) as error:
        raise DataError(f"{dataset.url}: cannot be unpacked safely ({error}): nothing was kept") from error
    except OSError as error:
        advice = f"free space there and in {tempfile.gettempdir()}, or change --root"
        raise DataError(f"{root}: cannot be written ({error.strerror}): {advice}") from error
    finally:
        socket.setdefaulttimeout(timeout)
    return target
