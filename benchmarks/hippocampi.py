"""Cut both hippocampi out of the heads of OASIS: ``python benchmarks/hippocampi.py --data DATA --root DIR``

DATA contains OASIS_Subcortical. The crops are data for the model of the package that it was not trained on: another
scanner, skull-stripped, labelled by other rules, with one class instead of two.
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from cohort_data import HEADS, sides_apart

NAME = "Hippocampi"
SIDES = {"left": 1, "right": 2}  # values of ``sides_apart``
MARGIN = 10  # voxels of 1 mm around a hippocampus


def crops_of(image: nib.Nifti1Image, label: nib.Nifti1Image) -> dict[str, tuple[nib.Nifti1Image, nib.Nifti1Image]]:
    """Return image and label around each hippocampus of a head."""
    values = np.asarray(sides_apart((image, label), np.random.RandomState(0))[1].dataobj)
    both = nib.Nifti1Image(np.isin(values, [*SIDES.values()]).astype(np.uint8), label.affine)
    crops = {}
    for side, value in SIDES.items():
        voxels = np.argwhere(values == value)
        low, high = np.maximum(voxels.min(axis=0) - MARGIN, 0), voxels.max(axis=0) + 1 + MARGIN
        box = tuple(map(slice, low, high))
        crops[side] = image.slicer[box], both.slicer[box]
    return crops


def main() -> None:
    """Write the dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real datasets")
    parser.add_argument("--root", type=Path, required=True, help="folder to write the dataset into")
    options = parser.parse_args()
    folder = options.root / NAME
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for file in sorted((options.data / HEADS / "imagesTr").glob("*.nii.gz")):
        label = nib.load(options.data / HEADS / "labelsTr" / file.name)
        for side, (crop, truth) in crops_of(nib.load(file), label).items():
            name = file.name.removesuffix(".nii.gz")
            nib.save(crop, folder / "imagesTr" / f"{name}_{side}_0000.nii.gz")
            nib.save(truth, folder / "labelsTr" / f"{name}_{side}.nii.gz")
    described = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "Hippocampus": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(described, indent=1) + "\n")


if __name__ == "__main__":
    main()
