"""The experiments of ``incomplete_data.py``: datasets to train on, and scans to test on."""

import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from attention_unet.config import AugmentationConfig, DataConfig
from attention_unet.dataset.cases import Case, Dataset
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.phantom import make_cohort
from attention_unet.dataset.synthetic_scan import thicken
from attention_unet.scans.volumes import Volume

TRAINING, TEST, SEED = 40, 20, 31  # cases, and the seed of the cohort
CHANNELS = ("T1", "T2", "FLAIR", "PD")
SIGNALS = np.array(  # of background, brain and the three structures in each channel
    [[0.0, 0.7, 0.2, 0.9, 0.7], [0.0, 0.5, 1.0, 0.5, 0.6], [0.0, 0.6, 0.1, 0.6, 0.9], [0.0, 0.8, 0.8, 0.6, 0.8]]
)
PLAIN = AugmentationConfig()
Change = Callable[[Volume, np.random.RandomState], Volume]


@dataclass(frozen=True)
class Experiment:
    """Trainings on different data or with different settings, and the tests of all of them.

    Attributes:
        arms: folder of the dataset and augmentation, by name. The first is the reference.
        tests: change of the scans, by name.
        test_cases: cases with complete truth.
    """

    arms: dict[str, tuple[Path, AugmentationConfig]]
    test_cases: Dataset
    tests: dict[str, Change] = field(default_factory=lambda: {"as trained": lambda volume, random: volume})


def phantoms(work: Path) -> Path:
    """Return the folder of the phantoms."""
    folder = work / "Phantom"
    return folder if folder.exists() else make_cohort(work, TRAINING, TEST, SEED, lambda: None)


def held_out(work: Path, source: Path, seed: int, group: Callable[[str], int], every: int) -> Path:
    """Return a folder with the cases of a real dataset, in which each ``every``-th group of cases is held out."""
    folder = work / f"{source.name}-{seed}"
    if not folder.exists():
        for file in sorted(source.glob("*Tr/*.nii.gz")):
            part = "Ts" if group(file.name) % every == seed % every else "Tr"
            target = folder / file.parent.name.replace("Tr", part) / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        described = json.loads((source / "dataset.json").read_text())
        kept = {"modality": described["modality"], "labels": described["labels"]}
        (folder / "dataset.json").write_text(json.dumps(kept))
    return folder


def test_cases(folder: Path) -> Dataset:
    """Return the test cases of a folder of phantoms."""
    dataset = find_dataset(DataConfig(root=str(folder)))
    names = sorted(file.name for file in (folder / "labelsTs").iterdir())
    images = {name: tuple(sorted((folder / "imagesTs").glob(f"{name.removesuffix('.nii.gz')}*"))) for name in names}
    return replace(dataset, cases=tuple(Case(name, images[name], folder / "labelsTs" / name) for name in names))


def copy_with_labels(
    folder: Path, name: str, change: Callable[[np.ndarray, int], np.ndarray], **description: Any
) -> Path:
    """Copy phantoms with other label maps of the training cases, and add fields to their description."""
    copy = folder.with_name(name)
    if not copy.exists():
        shutil.copytree(folder, copy)
        for number, file in enumerate(sorted((copy / "labelsTr").iterdir())):
            volume = nib.load(file)
            label = change(np.asarray(volume.dataobj).copy(), number)
            nib.save(nib.Nifti1Image(label, volume.affine, volume.header), file)
        described = json.loads((copy / "dataset.json").read_text())
        (copy / "dataset.json").write_text(json.dumps(described | description))
    return copy


def slices(work: Path, data: Path, seed: int) -> Experiment:
    """Return the experiment of annotated slices of phantoms."""
    return annotated_slices(phantoms(work))


def crops(work: Path, data: Path, seed: int) -> Experiment:
    """Return the experiment of annotated slices of hippocampus crops; crops 2k-1 and 2k seem to be of one head."""
    source = data / "Task04_Hippocampus"
    return annotated_slices(held_out(work, source, seed, lambda name: (int(name[12:15]) + 1) // 2, 4))


def annotated_slices(folder: Path) -> Experiment:
    """Return the experiment of annotated slices of a dataset."""
    labels = {**json.loads((folder / "dataset.json").read_text())["labels"], "9": "ignore"}

    def keep_tenth(label: np.ndarray, number: int) -> np.ndarray:
        axis = int(np.argmin(label.shape))
        there = np.arange(label.shape[axis]) % 10 == number % 10
        return np.where(there.reshape([-1 if a == axis else 1 for a in range(3)]), label, 9).astype(np.uint8)

    def keep_case(label: np.ndarray, number: int) -> np.ndarray:
        return label if number % 10 == 0 else np.full_like(label, 9)

    some_slices = copy_with_labels(folder, f"{folder.name}-slices", keep_tenth, labels=labels)
    some_cases = copy_with_labels(folder, f"{folder.name}-cases", keep_case, labels=labels)
    folders = {"all slices": folder, "a tenth of the slices": some_slices, "a tenth of the cases": some_cases}
    return Experiment({arm: (each, PLAIN) for arm, each in folders.items()}, test_cases(folder))


def classes(work: Path, data: Path, seed: int) -> Experiment:
    """Return the experiment of classes that half of the cases annotate."""
    folder = phantoms(work)
    names = {1: "Ventricle", 2: "Nucleus", 3: "Lesion"}
    known = {number: [k for k in names if (number + k) % 2] for number in range(TRAINING)}

    def keep_some(label: np.ndarray, number: int) -> np.ndarray:
        return np.where(np.isin(label, known[number]), label, 0).astype(np.uint8)

    annotated = {f"phantom_{number:03d}": [names[k] for k in kept] for number, kept in known.items()}
    return Experiment(
        {
            "all classes": (folder, PLAIN),
            "half of the classes, listed": (copy_with_labels(folder, "Listed", keep_some, annotated=annotated), PLAIN),
            "half of the classes, taken as background": (copy_with_labels(folder, "Unlisted", keep_some), PLAIN),
        },
        test_cases(folder),
    )


def channels(work: Path, data: Path, seed: int) -> Experiment:
    """Return the experiment of missing channels: the dice with each subset of them."""
    folder, copy = phantoms(work), work / "FourChannels"
    if not copy.exists():
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("images*", "dataset.json"))
        for part in ("Tr", "Ts"):
            for number, file in enumerate(sorted((folder / f"labels{part}").iterdir())):
                write_channels(copy / f"images{part}", file, np.random.RandomState([SEED, number, part == "Ts"]))
        described = json.loads((folder / "dataset.json").read_text())
        names = {str(i): name for i, name in enumerate(CHANNELS)}
        kept = {"channel_names": names, "labels": {name: int(value) for value, name in described["labels"].items()}}
        (copy / "dataset.json").write_text(json.dumps(kept))

    def without(missing: Sequence[int]) -> Change:
        return lambda volume, random: volume.without_channels(missing)

    subsets = [each for size in range(4) for each in itertools.combinations(range(4), size)]
    tests = {"without " + ", ".join(CHANNELS[c] for c in each) if each else "all": without(each) for each in subsets}
    arms = {"drop_channel 0": (copy, PLAIN), "drop_channel 0.3": (copy, AugmentationConfig(drop_channel=0.3))}
    return Experiment(arms, test_cases(copy), tests)


def write_channels(folder: Path, label_file: Path, random: np.random.RandomState) -> None:
    """Write four channels of a label map, each with a signal for each structure."""
    label = nib.load(label_file)
    array = np.asarray(label.dataobj)
    inside = ndimage.binary_closing(array > 0, iterations=3) | (ndimage.distance_transform_edt(array == 0) < 12)
    regions = np.where(array > 0, array + 1, inside)
    folder.mkdir(parents=True, exist_ok=True)
    for channel, signals in enumerate(SIGNALS):
        image = ndimage.gaussian_filter(signals[regions], 0.6) + random.normal(scale=0.06, size=array.shape)
        image *= random.uniform(300, 900)
        name = f"{label_file.name.removesuffix('.nii.gz')}_{channel:04d}.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.float32), label.affine), folder / name)


def contrasts(work: Path, data: Path, seed: int) -> Experiment:
    """Return the experiment of other contrasts of phantoms."""
    return other_contrasts(phantoms(work))


def heads(work: Path, data: Path, seed: int) -> Experiment:
    """Return the experiment of other contrasts of whole heads."""
    source = data / "OASIS_Subcortical"
    names = sorted(file.name for file in (source / "labelsTr").iterdir())
    return other_contrasts(held_out(work, source, seed, names.index, 5))


def other_contrasts(folder: Path) -> Experiment:
    """Return the experiment of other contrasts of a dataset."""
    arms = {f"synthesize {share:g}": (folder, AugmentationConfig(synthesize=share)) for share in (0, 0.5, 1)}
    tests: dict[str, Change] = {
        "as trained": lambda volume, random: volume,
        "inverted": lambda volume, random: masked(volume, volume.array.max() - volume.array),
        "remapped": remap,
        "bias field": bias,
        "thick slices": lambda volume, random: replace(volume, array=thicken(volume.array[0], 2, 3.0)[None]),
    }
    return Experiment(arms, test_cases(folder), tests)


def masked(volume: Volume, array: np.ndarray) -> Volume:
    """Return a volume with other values (1, I, J, K), and 0 where it is 0, as around a skull-stripped head."""
    return replace(volume, array=np.where(volume.array == 0, 0, array).astype(np.float32))


def remap(volume: Volume, random: np.random.RandomState) -> Volume:
    """Return a volume whose values are mapped by a random curve that is not monotone."""
    points = np.quantile(volume.array[volume.array != 0], np.linspace(0, 1, 7))
    return masked(volume, np.interp(volume.array, points, 1 + random.permutation(7)))


def bias(volume: Volume, random: np.random.RandomState) -> Volume:
    """Return a volume with a bias field of up to a factor of 2 to either side."""
    smooth = ndimage.zoom(random.uniform(-0.7, 0.7, (3, 3, 3)), np.array(volume.grid) / 3, order=1)
    return replace(volume, array=volume.array * np.exp(smooth[None]).astype(np.float32))


EXPERIMENTS = {
    "slices": slices,
    "crops": crops,
    "classes": classes,
    "channels": channels,
    "contrasts": contrasts,
    "heads": heads,
}
