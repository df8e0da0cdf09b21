import nibabel as nib
import numpy as np
import pytest

from attention_unet.config import DataConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.phantom import CLASSES, make_cohort
from attention_unet.errors import ConfigError, DataError


def test_same_seed_same_cohort(tmp_path):
    one = make_cohort(tmp_path / "one", 2, 1, seed=5, done=lambda: None)
    two = make_cohort(tmp_path / "two", 2, 1, seed=5, done=lambda: None)
    for path in sorted(one.rglob("*.nii.gz")):
        other = nib.load(two / path.relative_to(one))
        np.testing.assert_array_equal(nib.load(path).get_fdata(), other.get_fdata())
        np.testing.assert_array_equal(nib.load(path).affine, other.affine)


def test_an_earlier_cohort_is_never_mixed_in(tmp_path):
    make_cohort(tmp_path, 1, 0, seed=0, done=lambda: None)
    with pytest.raises(ConfigError, match="Phantom: exists already"):
        make_cohort(tmp_path, 1, 0, seed=0, done=lambda: None)
    with pytest.raises(ConfigError, match="expected at least 1"):
        make_cohort(tmp_path / "other", -3, 0, seed=0, done=lambda: None)


def test_a_cohort_that_was_cut_short_is_refused(tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_cohort(tmp_path, 2, 0, seed=0, done=stop)
    with pytest.raises(DataError, match=r"phantom_001\.nii\.gz: missing"):
        find_dataset(DataConfig(root=str(tmp_path / "Phantom")))


def test_a_cohort_is_what_it_claims_to_be(cohort):
    dataset = find_dataset(DataConfig(root=str(cohort)))
    assert dataset.labels.integers == {name: (value,) for name, value in CLASSES.items()}
    assert len(list((cohort / "imagesTs").iterdir())) == 2
    orientations, spacings = set(), []
    for case in dataset.cases:
        image, label = nib.load(case.images[0]), nib.load(case.label)
        np.testing.assert_array_equal(image.affine, label.affine)
        counts = np.bincount(np.asarray(label.dataobj).ravel(), minlength=4)
        assert (counts[1:] > 0).all()
        assert counts[3] < 0.005 * counts.sum()  # the lesion is small in its field
        orientations.add(nib.aff2axcodes(image.affine))
        spacings.append(sorted(image.header.get_zooms()))
        oblique = np.abs(image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)).max(axis=0)
        assert (oblique < 0.9999).any()
        assert image.get_fdata().min() >= 0
    assert len(orientations) > 4
    assert (np.array(spacings)[:, 2] > 1.3 * np.array(spacings)[:, 1]).all()
