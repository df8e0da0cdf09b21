"""Find the dataset of a configuration, in any of its layouts."""

from pathlib import Path

from attention_unet.config import DataConfig
from attention_unet.dataset.bids import find_bids_cases
from attention_unet.dataset.cases import Dataset, find_readable_cases, locate_dataset
from attention_unet.errors import DataError


def find_dataset(data: DataConfig) -> Dataset:
    """Return the labelled cases of the dataset of a configuration. Images are not read.

    Raise ConfigError if there is no such folder, DataError if files are missing or have no partner. It names them all.
    """
    dataset, problems = find_readable_dataset(locate_dataset(data.root, data.dataset), data)
    if problems:
        raise DataError("\n".join(problems.values()))
    return dataset


def find_readable_dataset(root: Path, data: DataConfig) -> tuple[Dataset, dict[str, str]]:
    """Return the dataset in a folder without incomplete cases, and the problem of each of them by id.

    Raise DataError if the dataset itself is faulty, or no case is left.
    """
    if data.bids_suffixes:
        return find_bids_cases(root, data.bids_suffixes, data.bids_labels)
    return find_readable_cases(root)
