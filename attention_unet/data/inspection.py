"""Look at every file of a dataset before anything is trained on it: what is wrong, and what it is like."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from attention_unet.data.cases import Case, Dataset
from attention_unet.data.fingerprint import Extent, extent_of
from attention_unet.data.preprocessing import read_case
from attention_unet.errors import DataError

FAR = 2.0  # times another voxel size than the median is worth a remark


@dataclass(frozen=True)
class CaseFacts:
    """What one case is like.

    Attributes:
        id: of the case.
        extent: its size on patient axes.
        orientation: of the stored axes, such as "LPS".
        quantiles: minimum, 1 %, median, 99 % and maximum of each channel (C, 5).
        volumes_ml: of each class.
        shares: of the voxels that are each class.
        digest: of the values of the image.
    """

    id: str
    extent: Extent
    orientation: str
    quantiles: np.ndarray
    volumes_ml: dict[str, float]
    shares: dict[str, float]
    digest: str


@dataclass(frozen=True)
class Inspection:
    """What is known of a dataset after looking at all of it.

    Attributes:
        facts: of each case that can be read.
        problems: by case, why it cannot be trained on.
        remarks: what is no error but worth a look.
    """

    facts: list[CaseFacts]
    problems: dict[str, str]
    remarks: list[str]


def inspect(dataset: Dataset, known: Mapping[str, str], done: Callable[[], None]) -> Inspection:
    """Read every image and label of a dataset.

    Args:
        dataset: to read.
        known: problems of cases that are not in it.
        done: called after each case.
    """
    facts: list[CaseFacts] = []
    problems = dict(known)
    remarks: list[str] = []
    for case in dataset.cases:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                facts.append(examine(case, dataset))
            except DataError as error:
                problems[case.id] = str(error)
        remarks += [str(warning.message) for warning in caught]
        done()
    return Inspection(facts, problems, [*remarks, *remarks_on(facts, dataset.labels.names)])


def examine(case: Case, dataset: Dataset) -> CaseFacts:
    """Read one case.

    Raises:
        DataError: if it cannot be trained on.
    """
    image, label = read_case(case, len(dataset.channels), dataset.labels)
    counts = {name: int(np.isin(label.array, group).sum()) for name, group in dataset.labels.integers.items()}
    return CaseFacts(
        id=case.id,
        extent=extent_of(image),
        orientation="".join(nib.aff2axcodes(image.affine)),
        quantiles=np.quantile(image.array.reshape(len(image.array), -1), [0, 0.01, 0.5, 0.99, 1], axis=1).T,
        volumes_ml={name: count * image.voxel_ml for name, count in counts.items()},
        shares={name: count / label.array.size for name, count in counts.items()},
        digest=hashlib.sha256(image.array.tobytes()).hexdigest(),
    )


def remarks_on(facts: Sequence[CaseFacts], classes: Sequence[str]) -> list[str]:
    """What is odd about cases that can all be read."""
    remarks = []
    copies = Counter(fact.digest for fact in facts)
    for digest in [digest for digest, count in copies.items() if count > 1]:
        same = [fact.id for fact in facts if fact.digest == digest]
        remarks.append(f"the same image {len(same)} times: {', '.join(same)}: a copy may be trained on and held out")
    for fact in facts:
        constant = [i for i, (low, *_, high) in enumerate(fact.quantiles) if low == high]
        if constant:
            remarks.append(f"{fact.id}: channel {constant[0]} is the same everywhere: is it empty?")
        if not any(fact.volumes_ml.values()):
            remarks.append(f"{fact.id}: no class is in it")
    if facts:
        spacings = np.array([fact.extent.spacing_mm for fact in facts])
        far = np.abs(np.log(spacings / np.median(spacings, axis=0))).max(axis=1) > np.log(FAR)
        for fact in (fact for fact, is_far in zip(facts, far, strict=True) if is_far):
            size = " x ".join(f"{s:.3g}" for s in fact.extent.spacing_mm)
            remarks.append(f"{fact.id}: voxels of {size} mm, far from those of the others: is its header right?")
    for name in classes:
        if facts and not any(fact.volumes_ml[name] for fact in facts):
            remarks.append(f"the class {name} is in no case")
    return remarks
