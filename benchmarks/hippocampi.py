"""Cut both hippocampi out of the heads of OASIS: ``python benchmarks/hippocampi.py --data DATA --root DIR``

DATA contains OASIS_Subcortical. The crops are data for the model of the package that it was not trained on: another
scanner, skull-stripped, labelled by other rules, with one class instead of two.
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine

NAME, HEADS, HIPPOCAMPUS = "Hippocampi", "OASIS_Subcortical", 1
MARGIN = 10  # voxels of 1 mm around a hippocampus


def crops_of(image: nib.Nifti1Image, label: nib.Nifti1Image) -> dict[str, tuple[nib.Nifti1Image, nib.Nifti1Image]]:
    """Return image and label around each hippocampus of a head."""
    mask = np.asarray(label.dataobj) == HIPPOCAMPUS
    voxels = np.argwhere(mask)
    right = apply_affine(label.affine, voxels)[:, 0]
    is_right = right > (right.min() + right.max()) / 2
    crops = {}
    for side, own in (("left", voxels[~is_right]), ("right", voxels[is_right])):
        low, high = np.maximum(own.min(axis=0) - MARGIN, 0), own.max(axis=0) + 1 + MARGIN
        box = tuple(map(slice, low, high))
        only = nib.Nifti1Image(mask.astype(np.uint8), label.affine)
        crops[side] = image.slicer[box], only.slicer[box]
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
