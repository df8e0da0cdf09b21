import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from attention_unet.geometry import regrid
from tests.conftest import oblique_affine

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
OUTSIDE = torch.tensor([7.0, -7.0])


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS, ids=str)
def test_exact_in_all_48_orientations(axes, signs):
    """Reorient with nibabel, cut a box out, then put it back: every voxel inside returns bit for bit."""
    affine = oblique_affine(axes=axes, signs=signs)
    original = np.random.RandomState(0).normal(size=(5, 6, 7)).astype(np.float32)
    canonical = nib.as_closest_canonical(nib.Nifti1Image(original, affine))
    box = canonical.slicer[1:4, 0:5, 2:5]
    values = torch.from_numpy(np.stack([np.asarray(box.dataobj)] * 2))
    back = regrid(values, box.affine, affine, original.shape, OUTSIDE)
    inside = regrid(torch.ones(1, *values.shape[1:]), box.affine, affine, original.shape, torch.zeros(1))[0] > 0
    assert int(inside.sum()) == 3 * 5 * 3
    assert torch.equal(back[0][inside], torch.from_numpy(original)[inside])
    assert (back[0][~inside] == 7).all()
    assert (back[1][~inside] == -7).all()


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::7], ids=str)
def test_linear_between_grids_as_scipy_does_it(axes, signs):
    affine, other = (
        oblique_affine((1.0, 1.2, 2.0), 5.0),
        oblique_affine((0.8, 1.1, 1.5), -8.0, axes, signs, (-22, 6, 2)),
    )
    other[:3, 3] += affine[:3] @ [4, 3.5, 3, 1] - other[:3] @ [17, 4.5, 5.5, 1]  # about the same middle
    values = np.random.RandomState(1).normal(size=(9, 8, 7)).astype(np.float32)
    found = regrid(torch.from_numpy(values)[None], affine, other, (35, 10, 12), torch.tensor([50.0]))[0].numpy()
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in found.shape), indexing="ij"), axis=-1)
    mapping = np.linalg.inv(affine) @ other
    position = voxels @ mapping[:3, :3].T + mapping[:3, 3]
    expected = map_coordinates(values, np.moveaxis(position, -1, 0), order=1, mode="nearest")
    inside = ((position > -0.5) & (position < np.array(values.shape) - 0.5)).all(axis=-1)
    assert inside.sum() > 20
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-4)
    assert (found[~inside] == 50).all()


def test_grids_apart_give_only_outside():
    far = np.eye(4)
    far[:3, 3] = 1000
    assert (regrid(torch.zeros(2, 3, 3, 3), np.eye(4), far, (4, 4, 4), OUTSIDE)[0] == 7).all()
