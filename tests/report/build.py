"""Build a small evaluation on disk. Its scans have tilted, anisotropic grids, stored in various axis orders."""

import json
import re

import nibabel as nib
import numpy as np
from scipy import ndimage

from attention_unet.dataset.cases import Case
from attention_unet.evaluation.evaluate import evaluate_cases
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import volumes_by_case
from tests.conftest import oblique_affine, save_nifti

LABELS = Labels({"block": (1,), "<b>bold</b>": (2,)}, (1, 2))
GRID = (14, 18, 10)  # voxels along RAS+ axes
SPOT = (3, 12, 7)
HOSTILE = '<img src="x" onerror="alert(1)">'  # a possible file name
STORED = {  # axes and signs of each case's files
    "plain": ((0, 1, 2), (1, 1, 1)),
    "turned": ((2, 0, 1), (-1, 1, -1)),
    HOSTILE: ((1, 2, 0), (-1, -1, 1)),
}
SHIFTS = {"plain": 1, "turned": 0, HOSTILE: 2}  # shift of each prediction in voxels


def masks():
    reference = np.zeros(GRID, dtype=np.uint8)
    reference[4:9, 5:12, 3:7] = 1
    reference[9:11, 5:12, 3:7] = 2
    return reference


def image():
    """Return a ramp of whole numbers with one bright voxel."""
    ramp = np.add.outer(np.add.outer(np.arange(GRID[0]), np.arange(GRID[1])), np.arange(GRID[2])).astype(np.float32)
    ramp[SPOT] = 200
    return ramp


def as_stored(case, sizes):
    """Return sizes along RAS+ axes in the order of the axes of a case's files."""
    return [size for _, size in sorted(zip(STORED[case][0], sizes, strict=True))]


def build_evaluation(folder, cases=STORED, *, scans=True):
    """Write scans, references, predictions with attention of skip 1, and evaluate them."""
    affine = oblique_affine(spacing=(1.0, 1.5, 2.0), degrees=9.0, signs=(1, 1, 1), shift=(-3.0, 4.0, 10.0))
    built = []
    for case in cases:
        turn = np.column_stack(STORED[case])
        predicted = ndimage.shift(masks(), (0, SHIFTS[case], 0), order=0)
        weights = np.where(masks() > 0, np.float32(0.75), np.float32(0.001))
        for where, array in (("i", image()), ("r", masks()), ("p", predicted), ("p/attention", weights)):
            turned = nib.Nifti1Image(array, affine).as_reoriented(turn)
            name = f"{case}_skip1" if where == "p/attention" else case
            save_nifti(folder / where / f"{name}.nii.gz", np.asarray(turned.dataobj), turned.affine)
        images = (folder / "i" / f"{case}.nii.gz",) if scans else ()
        built.append(Case(case, images, folder / "r" / f"{case}.nii.gz"))
    recorded = {case: {"attention_mm": {"skip 1": as_stored(case, [2.0, 3.0, 4.0])}} for case in cases}
    record = {"labels": LABELS.to_json(), "cases": recorded}
    (folder / "p" / "run.json").write_text(json.dumps(record))
    evaluate_cases(built, volumes_by_case(folder / "p"), folder / "e", LABELS)
    return folder / "e"


def facts_of(page):
    """Return the facts of a page."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="facts">(.*?)</script>', text, re.DOTALL)[1])
