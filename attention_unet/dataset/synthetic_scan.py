"""Synthesize images from label maps, so that a network learns shapes and not the contrast of its images.

A Gaussian mixture gives every region its own mean and standard deviation, anew in each image. See Billot et al.,
"SynthSeg: Segmentation of brain MRI scans of any contrast and resolution without retraining", Medical Image Analysis
2023.
"""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from attention_unet.scans.volumes import Volume

LARGEST_SD = 0.15  # of the voxels of a region; means are 0 to 1
BLUR = (0.2, 0.8)  # standard deviation in voxels: edges of real images are not sharp
THICK = 0.3  # probability of thick slices along one axis
THICKNESS = (2.0, 5.0)  # of thick slices, in voxels
FWHM = 2.355  # of a Gaussian, in standard deviations
AIR = 0.1  # largest mean of region 0
ALIKE = 0.3  # probability that a region looks like another one, as neighbours of the same tissue do


def synthesize_scan(label: Volume, case: str) -> Volume:
    """Synthesize a scan of one channel from a label map. The same case has the same contrast each time."""
    integers, regions, counts = np.unique(label.array, return_inverse=True, return_counts=True)
    counts = np.concatenate([[0], counts])  # no voxel is air: a label map does not show where it is
    seed = int.from_bytes(hashlib.sha256(case.encode()).digest()[:4], "big")
    random = np.random.RandomState(seed)
    numbers = (regions.reshape(label.array.shape) + 1).astype(np.uint8 if len(integers) < 255 else np.uint16)
    return replace(label, array=synthesize_image(numbers, counts, 1, False, False, random))


def synthesize_image(
    regions: NDArray[np.unsignedinteger[Any]],
    counts: NDArray[np.int64],
    channels: int,
    nonzero: bool,
    sliced: bool,
    random: np.random.RandomState,
) -> NDArray[np.float32]:
    """Synthesize an image (channels, *S) of a box of regions, with mean and standard deviation as after preprocessing.

    Args:
        regions: region of each voxel (1, *S); 0 is air.
        counts: voxels of each region in the whole case.
        channels: number of channels; each has its own contrast.
        nonzero: whether preprocessing leaves air at 0.
        sliced: whether the image may have thick slices.
        random: source of random numbers.
    """
    shares = counts / max(counts[nonzero:].sum(), 1)
    shares[0] *= not nonzero
    image = np.empty((channels, *regions.shape[1:]), dtype=np.float32)
    thick = sliced and random.uniform() < THICK
    axis, thickness = random.randint(3), random.uniform(*THICKNESS)
    for channel in image:
        means = random.uniform(0, 1, len(counts))
        sds = random.uniform(0, LARGEST_SD, len(counts))
        means[0] *= AIR
        others = np.where(random.uniform(size=len(counts)) < ALIKE, random.randint(len(counts), size=len(counts)), -1)
        looks = np.where(others > 0, others, np.arange(len(counts)))  # none looks like air
        looks[0] = 0
        means, sds = means[looks], sds[looks]
        mean = (shares * means).sum()
        sd = np.sqrt((shares * (sds**2 + (means - mean) ** 2)).sum()) or 1.0
        scaled = np.stack([(means - mean) / sd, sds / sd]).astype(np.float32)
        if nonzero:
            scaled[:, 0] = 0
        noise = random.standard_normal(regions.shape[1:]).astype(np.float32)
        drawn = scaled[0][regions[0]] + scaled[1][regions[0]] * noise
        drawn = ndimage.gaussian_filter(drawn, random.uniform(*BLUR))
        channel[:] = thicken(drawn, axis, thickness) if thick else drawn
    return image


def thicken(image: NDArray[np.float32], axis: int, thickness: float) -> NDArray[np.float32]:
    """Return an image (*S) as if scanned in slices of ``thickness`` voxels across ``axis``, then interpolated."""
    planes = ndimage.gaussian_filter1d(image, thickness / FWHM, axis=axis)
    voxels = image.shape[axis]
    slices = max(round(voxels / thickness), 1)
    for factor in (slices / voxels, voxels / slices):
        factors = [factor if each == axis else 1.0 for each in range(image.ndim)]
        planes = ndimage.zoom(planes, factors, order=1, mode="nearest", grid_mode=True)
    return planes
