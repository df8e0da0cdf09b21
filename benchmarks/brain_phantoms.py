"""Draw brains that are hard in the way real ones are: lesions in any number, nested tumours, parcels that touch.

The parcels are those of a real head, deformed: Colin 27 and its AAL parcels, in Debian's package mricron-data.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from hard_phantoms import Array, Phantom, Random, Scene, Vector, open_scene, scan, smooth_noise
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

TEMPLATES = Path("/usr/share/mricron/templates")
AAL_GROUPS = ("Frontal", "Insula", "Limbic", "Occipital", "Parietal", "Deep", "Temporal", "Cerebellum")
PARCELS = (*(f"{side} {group}" for group in AAL_GROUPS for side in ("Left", "Right")), "Vermis")
VERMIS = 109  # first of its parcels
# Signals of T1, T1 with contrast agent, T2 and FLAIR
GREY, WHITE, FLUID = (0.55, 0.55, 0.5, 0.6), (0.75, 0.75, 0.35, 0.45), (0.15, 0.15, 1.0, 0.1)
EDEMA, NECROSIS, RIM = (0.5, 0.5, 0.75, 0.95), (0.3, 0.3, 0.9, 0.6), (0.45, 1.1, 0.6, 0.7)


def lesions(random: Random) -> Phantom:
    """Return thick FLAIR slices of a brain with 0 to 40 small bright lesions.

    A rim of the ventricles, the choroid plexus and artefacts in the sulci are as bright, and no lesions.
    """
    scene = open_scene(random, (144, 176, 44), (1.1, 1.1, 3.0), bend_mm=2.5, bend_scale_mm=25.0)
    grey, white = scene.uniform(0.5, 0.6), scene.uniform(0.4, 0.48)
    radii = np.array([64.0, 80.0, 60.0]) * random.uniform(0.92, 1.08, size=3)
    scene.fill(scene.ellipsoid((0, 0, -5), radii + 8), [scene.uniform(0.5, 0.9)])  # skin
    scene.fill(scene.ellipsoid((0, 0, -5), radii + 4), [0.06])  # skull
    _fill_brain(scene, radii, [grey], [white], [0.1])
    ventricles = _ventricles(scene)
    rim = scene.uniform(1.0, 2.0) * (1 + 0.5 * scene.noise(12.0))
    scene.fill(ventricles - rim, [white * scene.uniform(1.1, 1.35)])
    scene.fill(ventricles, [0.1])
    for side in (-1, 1):
        start = np.array([side * 12, -18 + scene.uniform(-4, 4), 4])
        scene.fill(np.maximum(scene.tube(start, start + [side * 3, 14, 2], 1.8), ventricles), [scene.uniform(0.6, 0.8)])
    for _ in range(random.randint(2, 8)):  # artefacts at the surface
        at = _direction(random) * radii * 0.97
        scene.fill(scene.tube(at, at + random.normal(size=3) * 6, scene.uniform(1, 2)), [scene.uniform(0.6, 0.85)])
    number = 0 if random.uniform() < 0.15 else min(int(random.lognormal(2.3, 0.8)) + 1, 40)
    for _ in range(number):
        near = random.uniform() < 0.6
        at = _direction(random) * ([26, 38, 20] if near else radii * 0.75) * scene.uniform(0.7, 1.0)
        size = float(np.clip(random.lognormal(1.25, 0.45), 1.5, 9.0)) * random.uniform(0.7, 1.3, size=3)
        lesion: Array = np.maximum(scene.ellipsoid(at, size), -ventricles)
        scene.fill(lesion, [white * scene.uniform(1.3, 1.9)], 1)
    return scan(scene, noise=0.035)


def tumour(random: Random) -> Phantom:
    """Return a brain in four channels with a tumour: oedema around a core, with an enhancing rim around necrosis.

    Vessels enhance as the rim does; bright spots elsewhere in FLAIR are no oedema. Some cores do not enhance.
    """
    scene = open_scene(random, (120, 144, 108), (1.25, 1.25, 1.25), channels=4, bend_mm=2.5, bend_scale_mm=25.0)
    scene.signal[:] = 0
    radii = np.array([60.0, 76.0, 56.0]) * random.uniform(0.92, 1.08, size=3)
    gain = random.uniform(0.85, 1.15, size=4)
    grey, white, fluid, edema, necrosis, rim = (
        list(np.multiply(values, gain) + random.normal(0, 0.02, size=4))
        for values in (GREY, WHITE, FLUID, EDEMA, NECROSIS, RIM)
    )
    brain = _fill_brain(scene, radii, grey, white, fluid)
    scene.fill(_ventricles(scene), fluid)
    for _ in range(10):  # vessels
        at = _direction(random) * radii * scene.uniform(0.3, 0.95)
        vessel = scene.tube(at, at + random.normal(size=3) * 18, scene.uniform(0.8, 1.8))
        scene.fill(np.maximum(vessel, brain), rim)
    for _ in range(random.randint(0, 12)):
        at = _direction(random) * radii * scene.uniform(0.3, 0.7)
        scene.fill(scene.ellipsoid(at, random.uniform(1.5, 4, size=3)), edema)
    centre = _direction(random) * radii * scene.uniform(0.35, 0.65)
    size = scene.uniform(8, 20)
    rough = 0.2 * size * scene.noise(9.0)
    core = scene.ellipsoid(centre, size * random.uniform(0.75, 1.3, size=3)) + rough
    spread = scene.uniform(4, 18) * (1 + 0.5 * scene.noise(20.0))
    scene.fill(np.maximum(core - spread, brain + 2), edema, 1)
    scene.fill(np.maximum(core, brain), necrosis, 2)
    if random.uniform() < 0.85:
        thick = scene.uniform(1.5, 4.5) * (1 + 0.5 * scene.noise(8.0))
        scene.fill(np.maximum.reduce([core, -core - thick, brain]), rim, 3)
    phantom = scan(scene, noise=0.05)
    image: Array = np.where((brain < 1)[..., None], phantom.image, 0)  # the skull is stripped
    return phantom._replace(image=image)


def parcels(random: Random) -> Phantom:
    """Return a real head, deformed and with other contrast, with 17 groups of parcels that touch and fill the brain."""
    image, label, group = _template()
    grid, spacing = image.shape, (1.0, 1.0, 1.0)
    axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in grid), indexing="ij")
    middle = (np.array(grid, dtype=np.float32) - 1) / 2
    turn = Rotation.from_euler("xyz", random.uniform(-8, 8, size=3), degrees=True).as_matrix() * random.uniform(
        0.9, 1.1, size=3
    )
    offsets = np.stack(axes, axis=-1) - middle
    at = offsets @ turn.T.astype(np.float32) + middle
    for axis in range(3):
        for scale_mm, by_mm in ((50.0, 4.0), (15.0, 1.2)):
            at[..., axis] += by_mm * smooth_noise(random, grid, spacing, scale_mm)
    at = np.moveaxis(at, -1, 0)
    values: Array = map_coordinates(image, at, order=1) ** np.float32(random.uniform(0.6, 1.5))
    classes: NDArray[np.uint8] = group[map_coordinates(label, at, order=0)]
    scene = Scene(random, spacing, np.zeros((*grid, 0), dtype=np.float32), values[..., None], classes)
    return scan(scene, noise=0.05)


@cache
def _template() -> tuple[Array, NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the head, its parcels, and the class of each parcel."""
    if not TEMPLATES.is_dir():
        raise SystemExit(f"{TEMPLATES}: missing: on Debian, install mricron-data")
    image: Array = np.asarray(nib.load(TEMPLATES / "ch2.nii.gz").dataobj).astype(np.float32) / np.float32(255)
    label: NDArray[np.uint8] = np.asarray(nib.load(TEMPLATES / "aal.nii.gz").dataobj, dtype=np.uint8)
    group = np.zeros(256, dtype=np.uint8)
    for line in filter(None, (TEMPLATES / "aal.nii.txt").read_text().splitlines()):
        number, name, code = line.split()
        kind = int(code) // 1000 - 2
        group[int(number)] = len(PARCELS) if int(number) >= VERMIS else 2 * kind + 1 + name.endswith("_R")
    return image, label, group


def _fill_brain(
    scene: Scene, radii: Vector, grey: Sequence[float], white: Sequence[float], fluid: Sequence[float]
) -> Array:
    """Fill fluid, folded grey matter and white matter. Return the signed distance to the brain in mm."""
    brain = scene.ellipsoid((0, 0, -5), radii)
    folds = 2.5 * scene.noise(9.0)
    scene.fill(brain, fluid)
    scene.fill(brain + 2 + np.maximum(folds, 0), grey)
    scene.fill(brain + 6 + 1.5 * folds, white)
    for side in (-1, 1):
        scene.fill(scene.ellipsoid((side * 22, 2, 0), (8, 18, 10)), grey)
    return brain


def _ventricles(scene: Scene) -> Array:
    """Return the signed distance in mm to two ventricles."""
    width = scene.uniform(4, 9)
    sides = [
        scene.ellipsoid((side * 11, scene.uniform(-4, 4), 6), (width, scene.uniform(24, 32), scene.uniform(8, 12)))
        for side in (-1, 1)
    ]
    both: Array = np.minimum(*sides)
    return both


def _direction(random: Random) -> NDArray[np.float64]:
    vector: NDArray[np.float64] = random.normal(size=3)
    vector /= np.linalg.norm(vector)
    return vector
