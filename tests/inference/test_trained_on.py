"""A model recognises the cases that it was trained on, whatever became of its run and of their files."""

import itertools
import json

import nibabel as nib
import numpy as np
import pytest

from attention_unet.dataset.case_facts import image_digest
from attention_unet.inference.trained_on import TrainedOn, find_in_training
from attention_unet.scans.volumes import read_volume
from tests.conftest import save_nifti

KNOWN = TrainedOn.of({"a": "1" * 64, "b": "2" * 64})


@pytest.mark.parametrize(
    ("case", "digest", "way"), [("a", "1", "image"), ("z", "1", "image"), ("b", "3", "name"), ("z", "3", None)]
)
def test_a_case_is_known_by_its_image_or_its_name(case, digest, way):
    assert KNOWN.find(case, digest * 64) == way
    assert find_in_training([KNOWN], case, digest * 64) == way
    assert find_in_training([None, KNOWN], case, digest * 64) == (way or "unknown")
    assert find_in_training([None], case, digest * 64) == "unknown"


def test_it_is_read_as_it_was_written_and_names_nobody():
    plain = json.loads(json.dumps(TrainedOn.of({"doe_jane": "f" * 64}).to_json()))
    assert TrainedOn.from_json(plain) == TrainedOn.of({"doe_jane": "f" * 64})
    assert "doe" not in json.dumps(plain)


def test_an_image_stays_the_same_in_any_storage_order_and_type(tmp_path):
    array = np.random.RandomState(0).randint(0, 900, (4, 5, 6)).astype(np.int16)
    expected = image_digest(read_volume(save_nifti(tmp_path / "a.nii.gz", array)))
    image = nib.load(tmp_path / "a.nii.gz")
    for axes in itertools.permutations(range(3)):
        order = np.array([[axis, -1 if axis == 1 else 1] for axis in axes])
        nib.save(image.as_reoriented(order), tmp_path / "b.nii.gz")
        assert image_digest(read_volume(tmp_path / "b.nii.gz")) == expected
    nib.save(nib.Nifti1Image(array.astype(np.float32), image.affine), tmp_path / "c.nii")
    assert image_digest(read_volume(tmp_path / "c.nii")) == expected
    array[0, 0, 0] += 1
    assert image_digest(read_volume(save_nifti(tmp_path / "d.nii.gz", array))) != expected
