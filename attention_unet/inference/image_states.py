"""Describe the files of the images of a case, to notice when one changes."""

import hashlib
import os
from contextlib import suppress

from attention_unet.dataset.cases import Case
from attention_unet.files.digest import sha256_of, state_of
from attention_unet.scans.volume_files import list_files


def hash_images(case: Case) -> dict[str, str]:
    """Return sha256 of each image of a case by name. An image of several files is hashed as one."""
    hashes = (sha256_of(*list_files(path)) for path in case.images)
    return dict(zip(image_names(case), hashes, strict=True))


def image_names(case: Case) -> list[str]:
    """Return the names of the images of a case, with their number where two files have the same name."""
    names = [path.name for path in case.images]
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names)]


def image_states(case: Case) -> dict[str, str]:
    """Return a digest of sizes and times of the files of each image by name. It changes when a file changes.

    An image that cannot be looked at has none.
    """
    states = {}
    for name, path in zip(image_names(case), case.images, strict=True):
        digest = hashlib.sha256()
        with suppress(OSError):
            for file in list_files(path):
                digest.update(os.fsencode(f"{file.name}|{state_of(file)}\n"))
            states[name] = digest.hexdigest()
    return states
