"""Draw the search task of the study of attention: ``python benchmarks/search_phantoms.py --root DIR``

A small bright target lies beside a dark landmark. Cohorts differ in one factor from the first: a smaller target, a
fainter one, or eight look-alikes of the same size and brightness elsewhere: the landmark tells which is the target.
In part its place does, too: landmarks lie near the centre, look-alikes further out.
"""

import argparse
import json
from dataclasses import dataclass, replace
from multiprocessing import Pool
from pathlib import Path

import nibabel as nib
import numpy as np
from hard_phantoms import Phantom, Scene, Vector, open_scene, scan
from scipy.ndimage import distance_transform_edt
from scipy.spatial.transform import Rotation

GRID, SPACING_MM = (48, 52, 44), (2.0, 2.0, 2.0)
BRAIN_MM = np.array([40.0, 44.0, 36.0])
BRAIN, LANDMARK = 0.55, 0.2  # signal
NEAR_MM, FAR_MM = (3.0, 5.0), 14.0  # from the surface of the landmark to that of a target, of a look-alike at least
CASES = 100


@dataclass(frozen=True)
class Search:
    """A cohort.

    Attributes:
        radius_mm: radius of the target.
        contrast: signal of the target above that of the brain.
        lookalikes: number of look-alikes.
    """

    radius_mm: float = 6.0
    contrast: float = 0.25
    lookalikes: int = 0


EASY = Search()
COHORTS = {
    "SearchEasy": EASY,
    "SearchSmall": replace(EASY, radius_mm=3.5),
    "SearchFaint": replace(EASY, contrast=0.1),
    "SearchLookalikes": replace(EASY, lookalikes=8),
}


def draw(cohort: Search, random: np.random.RandomState) -> Phantom:
    """Return a case of a cohort."""
    scene = open_scene(random, GRID, SPACING_MM, bend_mm=2.0)
    scene.fill(scene.ellipsoid((0, 0, 0), BRAIN_MM * scene.uniform(0.95, 1.05)), [BRAIN])
    centre, turn = random.uniform(-10, 10, size=3), Rotation.random(random_state=random)
    landmark = scene.ellipsoid(centre, (6, 13, 8), turn)
    scene.fill(landmark, [LANDMARK])
    from_landmark_mm = distance_transform_edt(landmark > 0, SPACING_MM)
    taken: list[Vector] = []
    blobs = [(NEAR_MM, 1), *[((FAR_MM, np.inf), None)] * cohort.lookalikes]
    for (least, most), label in blobs:
        radius = cohort.radius_mm * scene.uniform(0.9, 1.1)
        at = _place(scene, from_landmark_mm, least + radius, most + radius, radius, taken)
        radii = radius * random.uniform(0.85, 1.15, size=3)
        scene.fill(scene.ellipsoid(at, radii), [BRAIN + cohort.contrast], label)
        taken.append(at)
    return scan(scene, noise=0.04)


def _place(
    scene: Scene, from_landmark_mm: np.ndarray, least: float, most: float, radius: float, taken: list[Vector]
) -> Vector:
    """Return a random point of the brain at a distance from the landmark, and apart from other blobs."""
    inside = scene.ellipsoid((0, 0, 0), BRAIN_MM) < -radius - 2
    allowed = inside & (from_landmark_mm > least) & (from_landmark_mm < most)
    for other in taken:
        allowed &= np.linalg.norm(scene.mm - other, axis=-1) > 2.5 * radius
    points = scene.mm[allowed]
    point: Vector = points[scene.random.randint(len(points))]
    return point


def main() -> None:
    """Write all cohorts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the datasets")
    root = parser.parse_args().root
    with Pool() as pool:
        pool.starmap(_write, [(root / name, name, number) for name in COHORTS for number in range(CASES)])
    for name in COHORTS:
        ids = [f"search_{number:03d}" for number in range(CASES)]
        description = {
            "name": name,
            "modality": {"0": "MRI"},
            "labels": {"0": "background", "1": "Target"},
            "training": [{"image": f"./imagesTr/{i}.nii.gz", "label": f"./labelsTr/{i}.nii.gz"} for i in ids],
        }
        (root / name / "dataset.json").write_text(json.dumps(description))


def _write(folder: Path, name: str, number: int) -> None:
    image, label, spacing_mm = draw(COHORTS[name], np.random.RandomState([17, number]))
    for part, values in (("imagesTr", image[..., 0]), ("labelsTr", label)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, np.diag([*spacing_mm, 1.0])), folder / part / f"search_{number:03d}.nii.gz")


if __name__ == "__main__":
    main()
