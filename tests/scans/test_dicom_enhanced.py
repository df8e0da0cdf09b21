"""Enhanced multi-frame DICOM files: all slices in one file, each with its own header."""

import warnings

import numpy as np
import pytest
from pydicom import Dataset

from attention_unet.scans.volumes import read_volume
from tests.scans.build import AFFINE, ORIENTATIONS, STORED, assert_shows, refused
from tests.scans.dicom_files import enhanced, save


def write_enhanced(folder, *args, **kwargs):
    folder.mkdir()
    save(folder / "enhanced.dcm", enhanced(*args, **kwargs))
    return folder


@pytest.mark.parametrize("affine", ORIENTATIONS)
@pytest.mark.parametrize("order", [None, (3, 0, 5, 1, 4, 2)])
def test_an_enhanced_file_is_read_by_the_positions_of_its_frames(tmp_path, affine, order):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = read_volume(write_enhanced(tmp_path / "a", STORED, affine, order))
    assert_shows(volume, STORED, affine)


def test_rescaling_of_frames(tmp_path):
    slopes = np.array([1, 0.5, 2, 0.25, 3, 1.5])

    def rescaling(k):
        return {"PixelValueTransformationSequence": {"RescaleSlope": slopes[k], "RescaleIntercept": -10 * k}}

    of_frames = write_enhanced(tmp_path / "frames", STORED, AFFINE, (3, 0, 5, 1, 4, 2), rescaling)
    assert_shows(read_volume(of_frames), STORED * slopes - 10 * np.arange(6), AFFINE)
    shared = write_enhanced(tmp_path / "shared", STORED, AFFINE, RescaleSlope=2, RescaleIntercept=-7)
    assert_shows(read_volume(shared), 2.0 * STORED - 7, AFFINE)


@pytest.mark.parametrize(
    ("sequence", "field", "values", "text"),
    [
        ("FrameContentSequence", "StackID", ["1", "2"], r"several stacks \(1, 2\)"),
        ("FrameContentSequence", "TemporalPositionIndex", [1, 2], r"several time points \(1, 2\)"),
        ("MREchoSequence", "EffectiveEchoTime", [10.5, 80], r"several echo times \(10\.5, 80"),
        ("MRDiffusionSequence", "DiffusionBValue", [0, 1000], r"several b-values \(0, 1000"),
        ("MRImageFrameTypeSequence", "FrameType", [["O", "P", "M"], ["O", "P", "P"]], r"several types of image"),
    ],
)
def test_an_enhanced_file_of_several_volumes_is_refused(tmp_path, sequence, field, values, text):
    def groups(k):
        return {sequence: {field: values[k % 2]}}

    of_file = {"EchoTime": 10.5, "TemporalPositionIdentifier": 1}  # some vendors write these, too
    written = write_enhanced(tmp_path / "a", STORED, AFFINE, None, groups, **of_file)
    refused(written, f"holds {text}.*: expected one volume")


def test_frames_that_form_no_volume(tmp_path):
    refused(
        write_enhanced(tmp_path / "gap", STORED, AFFINE, (0, 1, 3, 4, 5)),
        r"frame 2 of enhanced\.dcm and frame 3 of enhanced\.dcm are 5\.00 mm: is one missing",
    )
    refused(
        write_enhanced(tmp_path / "repeated", STORED, AFFINE, (0, 1, 2, 0, 1, 2)),
        "holds several images of each slice: expected one volume",
    )
    turned = enhanced(STORED, AFFINE)
    item = turned.PerFrameFunctionalGroupsSequence[2]
    item.PlaneOrientationSequence = [Dataset()]
    item.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    (tmp_path / "turned").mkdir()
    save(tmp_path / "turned" / "a.dcm", turned)
    refused(tmp_path / "turned", "its slices have 2 orientations")
    spacing = {"PixelMeasuresSequence": {"PixelSpacing": [2, 2]}}
    coarse = write_enhanced(tmp_path / "coarse", STORED, AFFINE, None, lambda k: spacing if k == 4 else {})
    refused(coarse, r"frame 5 of enhanced\.dcm has pixels of 2 x 2 mm, frame 1 of enhanced\.dcm of 0\.9 x 1\.3")
