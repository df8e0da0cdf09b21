"""Draw phantoms that are hard in the way real scans are: look-alikes far away, thin walls, classes without an edge.

Anatomy is in millimetres. Every case has its own pose, shapes, contrast, texture and noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom
from scipy.spatial.transform import Rotation

Array = NDArray[np.float32]
Vector = Sequence[float] | NDArray[np.float64]
Random = np.random.RandomState
EDGE_MM = 0.5  # half the width over which signals of neighbouring tissues mix


class Phantom(NamedTuple):
    """A scan: image (*S, C), label map (*S) and voxel size."""

    image: Array
    label: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


@dataclass
class Scene:
    """A scan in the making.

    Attributes:
        random: source of all draws.
        spacing_mm: voxel size.
        mm: (*S, 3), positions from the centre of the field of view, deformed as the anatomy of this case is.
        signal: (*S, C).
        label: (*S).
    """

    random: Random
    spacing_mm: tuple[float, float, float]
    mm: Array
    signal: Array
    label: NDArray[np.uint8]

    def fill(self, distance: Array, values: Sequence[float], label: int | None = None) -> None:
        """Fill a structure, given the signed distance to it (negative inside), with textured signal and a label."""
        soft = 1 / (1 + np.exp(np.clip(distance / EDGE_MM, -30, 30)))[..., None]
        texture = 0.06 * self.noise(4.0)[..., None]
        self.signal += soft * (np.asarray(values, dtype=np.float32) + texture - self.signal)
        if label is not None:
            self.label[distance < 0] = label

    def noise(self, scale_mm: float) -> Array:
        """Return smooth noise of standard deviation 1 and of a scale."""
        return smooth_noise(self.random, self.label.shape, self.spacing_mm, scale_mm)

    def ellipsoid(self, centre: Vector, radii: Vector, turn: Rotation | None = None) -> Array:
        """Return the approximate signed distance in mm to an ellipsoid."""
        offset = self.mm - np.asarray(centre, dtype=np.float32)
        if turn is not None:
            offset = offset @ turn.as_matrix().astype(np.float32)
        scaled = offset / np.asarray(radii, dtype=np.float32)
        distance: Array = (np.linalg.norm(scaled, axis=-1) - 1) * np.float32(min(radii))
        return distance

    def tube(self, start: Vector, end: Vector, radius: float) -> Array:
        """Return the signed distance in mm to a tube with round ends."""
        a, b = (np.asarray(point, dtype=np.float32) for point in (start, end))
        along = np.clip((self.mm - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        distance: Array = np.linalg.norm(self.mm - a - along[..., None] * (b - a), axis=-1) - np.float32(radius)
        return distance

    def uniform(self, low: float, high: float) -> float:
        """Return a uniform draw."""
        return float(self.random.uniform(low, high))


def smooth_noise(random: Random, grid: Sequence[int], spacing_mm: Sequence[float], scale_mm: float) -> Array:
    """Return noise of standard deviation 1 that is smooth on a scale in mm."""
    coarse = [max(int(np.ceil(n * s / scale_mm)) + 3, 4) for n, s in zip(grid, spacing_mm, strict=True)]
    values = random.normal(size=coarse).astype(np.float32)
    fine = zoom(values, [(n + 1) / (c - 2) for n, c in zip(grid, coarse, strict=True)], order=1)
    cut = fine[tuple(slice(0, n) for n in grid)]
    noise: Array = (cut / max(float(cut.std()), 1e-6)).astype(np.float32)
    return noise


def open_scene(
    random: Random,
    grid: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    channels: int = 1,
    bend_mm: float = 3.0,
    bend_scale_mm: float = 40.0,
) -> Scene:
    """Return an empty scene whose anatomy is bent."""
    axes = [((np.arange(n) - (n - 1) / 2) * s).astype(np.float32) for n, s in zip(grid, spacing_mm, strict=True)]
    mm = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    for axis in range(3):
        mm[..., axis] += bend_mm * smooth_noise(random, grid, spacing_mm, bend_scale_mm)
    signal = np.full((*grid, channels), 0.05, dtype=np.float32)
    return Scene(random, spacing_mm, mm, signal, np.zeros(grid, dtype=np.uint8))


def scan(scene: Scene, noise: float) -> Phantom:
    """Scan a scene: with a coil's field, Rician noise and any scale."""
    random, signal = scene.random, scene.signal
    field = np.exp(0.25 * scene.noise(150.0))[..., None]
    real, imaginary = noise * random.normal(size=(2, *signal.shape)).astype(np.float32)
    image: Array = np.hypot(signal * field + real, imaginary) * np.float32(random.uniform(200, 900))
    return Phantom(image, scene.label, scene.spacing_mm)


def short_axis(random: Random) -> Phantom:
    """Return thick slices through a chest: the left ventricle, its wall and the right ventricle.

    Muscle, liver and spleen have the signal of the wall; aorta, vessels and atria that of blood. The classes end at the
    base of the heart, where the atria begin without an edge.
    """
    in_plane = float(random.uniform(1.3, 1.7))
    spacing = (in_plane, in_plane, float(random.choice([8.0, 10.0])))
    scene = open_scene(random, (216, 256, int(random.randint(8, 13))), spacing, bend_mm=4.0)
    blood, muscle, fat = scene.uniform(0.8, 1.0), scene.uniform(0.32, 0.45), scene.uniform(0.9, 1.2)
    body = np.array([scene.uniform(135, 155), scene.uniform(95, 115), 400.0])
    scene.fill(scene.ellipsoid((0, 0, 0), body), [fat])
    scene.fill(scene.ellipsoid((0, 0, 0), body - [14, 14, 0]), [muscle])
    for side in (-1, 1):
        centre = (side * scene.uniform(52, 62), scene.uniform(-10, 15), scene.uniform(-20, 20))
        scene.fill(scene.ellipsoid(centre, (44, 62, 160)), [0.08])
    scene.fill(scene.ellipsoid((-60, scene.uniform(-10, 20), -75), (75, 70, 60)), [muscle + scene.uniform(-0.05, 0.1)])
    scene.fill(scene.ellipsoid((75, -35, -70), (35, 40, 50)), [muscle + scene.uniform(-0.05, 0.1)])
    for _ in range(8):  # vessels
        at = np.array([scene.uniform(-90, 90), scene.uniform(-60, 60), scene.uniform(-50, 50)])
        scene.fill(scene.tube(at, at + random.normal(size=3) * 25, scene.uniform(3, 7)), [blood])
    aorta = np.array([scene.uniform(5, 20), -scene.uniform(45, 60), 0.0])
    scene.fill(scene.tube(aorta - [0, 0, 200], aorta + [0, 0, 200], scene.uniform(14, 17)), [muscle])
    scene.fill(scene.tube(aorta - [0, 0, 200], aorta + [0, 0, 200], scene.uniform(10, 13)), [blood])
    heart = np.array([scene.uniform(10, 35), scene.uniform(0, 25), scene.uniform(-8, 8)])
    size, wall = scene.uniform(0.85, 1.2), scene.uniform(7, 12)
    scene.fill(scene.ellipsoid(heart + [-15, 0, 0], (62 * size, 50 * size, 75)), [fat])
    turn = Rotation.from_euler("z", scene.uniform(-25, 25), degrees=True)
    base = heart[2] + scene.uniform(22, 32)
    left = scene.ellipsoid(heart, (24 * size, 24 * size, 52))
    around = scene.ellipsoid(heart, (24 * size + wall, 24 * size + wall, 52 + wall))
    away = turn.apply([-(34 * size + wall), 4.0, 5.0])
    right: Array = np.maximum(scene.ellipsoid(heart + away, (30 * size, 36 * size, 48), turn), -around - 1)
    scene.fill(right - 3.0, [muscle])
    scene.fill(right, [blood], 3)
    scene.fill(around, [muscle], 2)
    scene.fill(left, [blood], 1)
    atria = scene.ellipsoid(heart + [-15, -12, base - heart[2] + 22], (50 * size, 38 * size, 24))
    scene.fill(atria, [blood])
    scene.label[scene.mm[..., 2] > base] = 0
    return scan(scene, noise=0.06)


def atrium(random: Random) -> Phantom:
    """Return fine isotropic voxels of a large chamber with four veins, beside other chambers of the same signal.

    Thin walls separate the chambers. The class ends in the veins, and at the valve, without an edge.
    """
    scene = open_scene(random, (180, 140, 88), (0.625, 0.625, 0.625), bend_mm=2.5, bend_scale_mm=18.0)
    blood, muscle = scene.uniform(0.65, 0.9), scene.uniform(0.25, 0.4)
    scene.signal += muscle
    scene.fill(scene.ellipsoid((45, -20, -5), (28, 34, 40)), [0.08])  # lung
    scene.fill(scene.ellipsoid((-50, -20, 0), (20, 40, 40)), [0.08])
    size = scene.uniform(0.85, 1.15)
    centre = random.uniform(-5, 5, size=3)
    chamber = scene.ellipsoid(centre, (27 * size, 18 * size, 17 * size))
    lobes = [
        scene.ellipsoid(centre + random.normal(size=3) * [14, 7, 8], random.uniform(7, 13, size=3)) for _ in range(4)
    ]
    veins = []
    for x, z in ((-1, 1), (-1, -1), (1, 1), (1, -1)):
        start = centre + np.array([x * 20, -8, z * 6]) * size
        end = start + np.array([x * scene.uniform(20, 30), -scene.uniform(5, 14), z * scene.uniform(2, 12)])
        veins.append((start, end, scene.uniform(4, 6.5)))
    pool = np.minimum.reduce([chamber, *lobes])
    others = [
        scene.ellipsoid(centre + [scene.uniform(-4, 10), 30 * size + 6, -8], (26, 20 * size, 26)),  # ventricle
        scene.ellipsoid(centre + [-34 * size - 6, 16, 0], (17, 20, 24)),  # right atrium
        scene.tube(centre + [-4, 16 + 6 * size, 6], centre + [-10, 20, 60], 11),  # aorta
        scene.tube(centre + [-30, 2, 24 * size + 8], centre + [35, -4, 25 * size + 8], 9),  # artery
        scene.tube(centre + [8, -30 * size, -60], centre + [8, -30 * size, 60], 9),  # descending aorta
    ]
    gap = scene.uniform(1.2, 2.4)
    for other in others:
        scene.fill(np.maximum(other, -(pool - gap)), [blood * scene.uniform(0.9, 1.08)])
    for start, end, radius in veins:
        scene.fill(scene.tube(start, end, radius), [blood])
    scene.fill(scene.ellipsoid(centre + [4, 20 * size, -5], (9, 12, 9)), [blood])  # open valve
    scene.fill(pool, [blood], 1)
    for start, end, radius in veins:  # the class ends after a part of each vein
        part = start + (end - start) * scene.uniform(0.2, 0.4)
        scene.label[scene.tube(start, part, radius) < 0] = 1
    return scan(scene, noise=0.11)
