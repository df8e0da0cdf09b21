"""DICOM segmentations, read back by highdicom and by the C++ programs of dcmqi and dicom3tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread, uid

from attention_unet.errors import ConfigError, DataError
from attention_unet.scans.dicom_segmentation import Code, SegmentCode, check_codes, make_segmentation, read_codes
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import read_volume
from tests.conftest import oblique_affine
from tests.scans.build import AFFINE, ORIENTATIONS, STORED
from tests.scans.dicom_files import HEADER, enhanced, save, slice_of, write_slices
from tests.scans.segmentations import LABELS, mask, read_back, series

hd = pytest.importorskip("highdicom", reason="needs the extra dicom")

OVERLAPPING = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))


@pytest.mark.parametrize("affine", [AFFINE, *ORIENTATIONS])
def test_segments_come_back_on_the_voxels_of_the_scan(tmp_path, affine):
    volume, path = series(tmp_path / "series", affine, shuffled=True), tmp_path / "mask.dcm"
    stored = mask()
    # the scan may be read with its slices in another order than they were made in: the mask is the scan's
    make_segmentation(stored, volume, LABELS, {}).save_as(path)
    anterior, posterior = read_back(path, volume)
    np.testing.assert_array_equal(anterior == 1, stored == 1)
    np.testing.assert_array_equal(posterior == 1, stored == 4)


def test_overlapping_classes_keep_all_their_voxels(tmp_path):
    volume, stored = series(tmp_path / "series"), mask(OVERLAPPING)
    make_segmentation(stored, volume, OVERLAPPING, {}).save_as(tmp_path / "mask.dcm")
    whole, core = read_back(tmp_path / "mask.dcm", volume)
    np.testing.assert_array_equal(whole == 1, stored > 0)
    np.testing.assert_array_equal(core == 1, stored == 2)


def test_each_frame_refers_to_its_slice(tmp_path):
    volume = series(tmp_path / "series", shuffled=True)
    make_segmentation(mask(), volume, LABELS, {}).save_as(tmp_path / "mask.dcm")
    segmentation = dcmread(tmp_path / "mask.dcm")
    positions = {
        header.SOPInstanceUID: list(header.ImagePositionPatient)
        for header in map(dcmread, sorted((tmp_path / "series").iterdir()))
    }
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(
            list(frame.PlanePositionSequence[0].ImagePositionPatient), positions[source], atol=1e-4
        )
    orientation = segmentation.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    np.testing.assert_allclose(
        list(orientation), list(dcmread(next((tmp_path / "series").iterdir())).ImageOrientationPatient), atol=1e-6
    )
    assert (segmentation.Columns, segmentation.Rows) == STORED.shape[:2]
    assert segmentation.PatientID == "P7"
    assert segmentation.StudyInstanceUID == HEADER["StudyInstanceUID"]
    assert segmentation.FrameOfReferenceUID == HEADER["FrameOfReferenceUID"]


def test_names_colours_and_codes(tmp_path):
    table = tmp_path / "codes.csv"
    table.write_text(
        "class,scheme,value,meaning,category_scheme,category_value,category_meaning\n"
        "Anterior ,SCT,5366008,Hippocampus,SCT,91723000,Anatomical structure\n",
        encoding="utf-8-sig",  # as Excel writes it
    )
    codes = read_codes(table)
    expected = Code("SCT", "5366008", "Hippocampus"), Code("SCT", "91723000", "Anatomical structure")
    assert codes == {"Anterior": SegmentCode(*expected)}
    make_segmentation(mask(), series(tmp_path / "series"), LABELS, codes).save_as(tmp_path / "mask.dcm")
    first, second = hd.seg.segread(tmp_path / "mask.dcm").SegmentSequence
    assert (first.SegmentLabel, second.SegmentLabel) == ("Anterior", "Posterior")
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Hippocampus"
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator.startswith("99")
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Posterior"
    np.testing.assert_allclose(
        hd.color.CIELabColor.from_dicom_value(first.RecommendedDisplayCIELabValue).to_rgb(), (0x1F, 0x77, 0xB4), atol=2
    )


def test_an_empty_mask_is_written(tmp_path):
    volume = series(tmp_path / "series")
    make_segmentation(np.zeros(STORED.shape, np.uint8), volume, LABELS, {}).save_as(tmp_path / "mask.dcm")
    assert not read_back(tmp_path / "mask.dcm", volume).any()


@pytest.mark.parametrize("order", [range(6), [3, 0, 5, 1, 4, 2]])
def test_an_enhanced_series(tmp_path, order):
    (tmp_path / "series").mkdir()
    dataset = enhanced(STORED, AFFINE, order=order)
    for name, value in {**HEADER, "InstanceNumber": 1}.items():
        setattr(dataset, name, value)
    save(tmp_path / "series" / "one.dcm", dataset)
    volume, stored = read_volume(tmp_path / "series"), mask()
    make_segmentation(stored, volume, LABELS, {}).save_as(tmp_path / "mask.dcm")
    np.testing.assert_array_equal(read_back(tmp_path / "mask.dcm", volume)[0] == 1, stored == 1)


def test_slices_at_rounded_positions_are_referred_to(tmp_path):
    affine = oblique_affine((0.9, 1.3, 2.5), degrees=20)
    rounded = [slice_of(STORED, affine, k, **{**HEADER, "InstanceNumber": k + 1}) for k in range(STORED.shape[2])]
    for each in rounded:
        each.ImagePositionPatient = [f"{float(value):.2f}" for value in each.ImagePositionPatient]
    volume, stored = read_volume(write_slices(tmp_path / "series", rounded)), mask()
    make_segmentation(stored, volume, LABELS, {}).save_as(tmp_path / "mask.dcm")
    segmentation = dcmread(tmp_path / "mask.dcm")
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = next(each.ImagePositionPatient for each in rounded if each.SOPInstanceUID == source)
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == list(position)
    frames = segmentation.pixel_array.reshape(-1, *STORED.shape[1::-1])
    assert frames.sum() == np.count_nonzero(stored)


@pytest.mark.parametrize("characters", [None, "ISO_IR 100", ["", "ISO 2022 IR 87"]])
def test_names_in_any_script(tmp_path, characters):
    labels = Labels({"海馬": (1,), "Größe\\β": (4,)}, (1, 4))
    name = "Yamada^Tarou=山田^太郎" if characters and len(characters) == 2 else "Müller^Jörg"
    volume = series(
        tmp_path / "series", SpecificCharacterSet=characters, PatientName=name if characters else "Doe^Jane"
    )
    make_segmentation(mask(), volume, labels, {}).save_as(tmp_path / "mask.dcm")
    found = dcmread(tmp_path / "mask.dcm")
    assert [each.SegmentLabel for each in found.SegmentSequence] == ["海馬", "Größe/β"]
    assert str(found.PatientName) == (name if characters else "Doe^Jane")


def test_headers_that_may_be_empty_may_be_missing(tmp_path):
    names = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
    missing = dict.fromkeys([*names, "AccessionNumber", "ReferringPhysicianName", "SliceThickness"])
    volume, stored = series(tmp_path / "series", **missing), mask()
    make_segmentation(stored, volume, LABELS, {}).save_as(tmp_path / "mask.dcm")
    np.testing.assert_array_equal(read_back(tmp_path / "mask.dcm", volume)[0] == 1, stored == 1)


def test_headers_that_lack_a_frame_of_reference_are_named(tmp_path):
    volume = series(tmp_path / "series", FrameOfReferenceUID=None)
    with pytest.raises(DataError, match=r"series: a DICOM segmentation cannot refer to it \(.*Frame Of Reference UID"):
        make_segmentation(mask(), volume, LABELS, {}).save_as(tmp_path / "mask.dcm")
    assert not (tmp_path / "mask.dcm").exists()


@pytest.mark.parametrize(("field", "value"), [("PatientID", "another"), ("SOPInstanceUID", "1.2.3")])
def test_slices_of_two_patients_or_with_one_identifier_are_refused(tmp_path, field, value):
    volume = series(tmp_path / "series")
    for file in sorted((tmp_path / "series").iterdir())[:2]:
        slice_ = dcmread(file)
        setattr(slice_, field, value)
        slice_.save_as(file)
    with pytest.raises(DataError, match=rf"files have \d+ {field}: expected \d+; export it again, or predict without"):
        make_segmentation(mask(), volume, LABELS, {}).save_as(tmp_path / "mask.dcm")


def test_codes_that_cannot_be_used_are_refused(tmp_path):
    code = SegmentCode(Code("SCT", "5366008", "Hippocampus"))
    for codes in ({"Hippo": code}, {"Anterior": code}):
        with pytest.raises(ConfigError, match=r"codes are given for .*: expected one for each of Anterior, Posterior"):
            check_codes(LABELS, codes)
    check_codes(LABELS, {"Posterior": code, "Anterior": code})
    for text, reason in [
        ("class,scheme,value\nAnterior,SCT,5366008\n", "no column 'meaning'"),
        ("class,scheme,value,meaning\nAnterior,SCT,,Hippocampus\n", "the row of Anterior lacks"),
        ("class,scheme,value,meaning\n", "has 0 rows for 0 classes: expected one for each class"),
        ("class,scheme,value,meaning\n" + 2 * "a,SCT,1,b\n", "has 2 rows for 1 classes: expected one for each class"),
        (f"class,scheme,value,meaning\na,SCT,1,{'b' * 65}\n", "has 65 characters, at most 64 are allowed"),
        ("class,scheme,value,meaning,category_scheme\nAnterior,SCT,1,a,SCT\n", "the row of Anterior lacks"),
    ]:
        (tmp_path / "codes.csv").write_text(text)
        with pytest.raises(DataError, match=reason):
            read_codes(tmp_path / "codes.csv")


@pytest.mark.parametrize("affine", [AFFINE, ORIENTATIONS[3]])
def test_other_programs_accept_it(tmp_path, affine):
    """Dciodvfy checks the file against the standard; segimage2itkimage of dcmqi unpacks it."""
    check, unpack = (shutil.which(name, path=Path(sys.executable).parent) for name in ("dciodvfy", "segimage2itkimage"))
    if not (check and unpack):
        pytest.skip("needs dciodvfy (dicom3tools) and segimage2itkimage (dcmqi)")
    volume, stored = series(tmp_path / "series", affine), mask()
    make_segmentation(stored, volume, LABELS, {}).save_as(tmp_path / "mask.dcm")
    found = subprocess.run([check, "-new", tmp_path / "mask.dcm"], capture_output=True, text=True, check=False)
    assert "Error" not in found.stderr + found.stdout
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    command = [unpack, "--inputDICOM", tmp_path / "mask.dcm", "--outputDirectory", unpacked, "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    for file, value in zip(sorted(unpacked.glob("*.nrrd")), LABELS.painted, strict=True):
        image = sitk.ReadImage(str(file))
        resampled = sitk.Resample(image, _as_grid(volume), sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(resampled).T > 0, stored == value)


def _as_grid(volume):
    """Return an image of SimpleITK on the grid of a volume, made of its affine."""
    image = sitk.GetImageFromArray(np.zeros(volume.grid[::-1], np.uint8))
    lps = np.diag([-1.0, -1.0, 1.0]) @ volume.affine[:3]
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((lps[:, :3] / volume.spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return image


def test_two_segmentations_have_identifiers_of_their_own(tmp_path):
    volume = series(tmp_path / "series")
    for name in ("a.dcm", "b.dcm"):
        make_segmentation(mask(), volume, LABELS, {}).save_as(tmp_path / name)
    first, second = (dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert uid.UID(first.SOPInstanceUID).is_valid
