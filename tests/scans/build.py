"""DICOM series on disk, and what reading them must give."""

import itertools

import numpy as np
import pytest

from attention_unet.errors import DataError
from attention_unet.scans.volumes import read_volume
from tests.conftest import oblique_affine
from tests.scans.dicom_files import slice_of

STORED = np.random.RandomState(0).randint(0, 900, size=(7, 5, 6)).astype(np.int16)
AFFINE = oblique_affine()
ORIENTATIONS = [
    oblique_affine(axes=axes, signs=signs)
    for axes, signs in zip(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3), strict=False)
]


def assert_shows(volume, values, affine):
    """Check that the volume has the values of the truth at the same positions in space."""
    indices = np.indices(values.shape).reshape(3, -1)
    world = affine[:3, :3] @ indices + affine[:3, 3:]
    positions = np.linalg.inv(volume.affine) @ np.vstack([world, np.ones(world.shape[1])])
    voxels = np.round(positions[:3]).astype(int)
    np.testing.assert_allclose(positions[:3], voxels, atol=1e-3)
    assert volume.array.shape == (1, *np.ptp(voxels, axis=1) + 1)
    np.testing.assert_allclose(volume.array[0][tuple(voxels)], values.ravel(), rtol=1e-6)


def slices(fields=lambda k: {}, stored=STORED, affine=AFFINE):
    return [slice_of(stored, affine, k, **fields(k)) for k in range(stored.shape[2])]


def refused(path, text):
    with pytest.raises(DataError, match=text) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
