"""DICOM series: voxels and geometry are compared with those that the test files were made from."""

import gzip
import os

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread, uid

from attention_unet.errors import DataError
from attention_unet.scans.dicom import is_dicom, is_series
from attention_unet.scans.volumes import read_volume, write_like
from tests.conftest import oblique_affine
from tests.scans.build import AFFINE, ORIENTATIONS, STORED, assert_shows, refused, slices
from tests.scans.dicom_files import SERIES, as_itk, save, slice_of, write_series, write_slices

LARGER = np.random.RandomState(0).randint(0, 200, size=(70, 50, 3)).astype(np.int16)  # codecs fail on a few pixels


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_series_is_read_in_order(tmp_path, shuffled):
    affine = oblique_affine((0.9, 1.3, 2.5), degrees=20)
    volume = read_volume(write_series(tmp_path / "series", as_itk(STORED, affine), shuffled=shuffled))
    np.testing.assert_array_equal(volume.array[0], STORED)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    assert is_series(tmp_path / "series")
    assert not is_series(tmp_path)
    write_like(tmp_path / "mask.nii.gz", STORED.astype(np.uint8), volume)
    assert b"Jane" not in gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())


@pytest.mark.parametrize("affine", ORIENTATIONS)
def test_a_series_in_any_orientation(tmp_path, affine):
    assert_shows(read_volume(write_slices(tmp_path / "a", slices(affine=affine))), STORED, affine)


def test_each_slice_has_its_own_rescaling(tmp_path):
    unsigned = STORED.astype(np.uint16)
    negative = slices(lambda k: {"RescaleSlope": 1, "RescaleIntercept": -500 if k else 0}, unsigned)
    values = STORED - np.where(np.arange(6) > 0, 500.0, 0.0)
    assert_shows(read_volume(write_slices(tmp_path / "negative", negative)), values, AFFINE)
    slopes = np.array([1, 0.0013, 0.0027, 0.0031, 0.0005, 0.0009])
    fractions = slices(lambda k: {"RescaleSlope": slopes[k], "RescaleIntercept": 0})
    assert_shows(read_volume(write_slices(tmp_path / "fractions", fractions)), STORED * slopes, AFFINE)


@pytest.mark.parametrize(
    ("number", "vr", "padding"), [(2000, "SS", 2000), (-5, "SS", -5), (63536, "SS", -2000), (2000, "SS", None)]
)
def test_bright_padding_becomes_as_dark_as_the_darkest_voxel(tmp_path, number, vr, padding):
    signed = number < 2**15
    stored = np.maximum(STORED, 1).astype(np.int16 if signed else np.uint16)
    stored[:, 0, 2:] = number
    fields = {"PixelRepresentation": int(signed), "RescaleSlope": 2, "RescaleIntercept": -3}
    series = slices(lambda k: fields, stored)
    for each in series if padding else ():
        each.add_new("PixelPaddingValue", vr, padding)
    values = 2.0 * stored - 3
    if padding and number > 0:
        values[stored == number] = values[stored != number].min()
    assert_shows(read_volume(write_slices(tmp_path / "a", series)), values, AFFINE)


def test_slices_that_differ_are_named_with_what_differs(tmp_path):
    differing = {"PixelSpacing": [2, 2]}
    first = write_slices(tmp_path / "first", slices(lambda k: {} if k else differing))
    refused(first, r"000\.dcm has pixels of 2 x 2 mm, 001\.dcm of 0\.9 x 1\.3 mm \(PixelSpacing\)")
    half = write_slices(tmp_path / "half", slices(lambda k: differing if k > 3 else {}))
    refused(half, r"004\.dcm has pixels of 2 x 2 mm, 000\.dcm of 0\.9 x 1\.3 mm")
    smaller = [*slices()[:5], slice_of(STORED[:6], AFFINE, 5)]
    refused(write_slices(tmp_path / "size", smaller), r"005\.dcm has 6 x 5 pixels, the other slices have 7 x 5")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"PixelSpacing": None}, r"000\.dcm has PixelSpacing missing: expected two sizes above 0 mm"),
        ({"PixelSpacing": [0, 0]}, r"000\.dcm has PixelSpacing \[0.0, 0.0\]: expected two sizes above 0 mm"),
        ({"ImagePositionPatient": None}, r"000\.dcm has no ImagePositionPatient or no ImageOrientationPatient"),
        ({"ImageOrientationPatient": [0] * 6}, r"000\.dcm has ImageOrientationPatient .*: expected two directions"),
        ({"RescaleSlope": 0}, r"000\.dcm has RescaleSlope 0"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, r"000\.dcm: is a mosaic.*with dcm2niix"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, r"000\.dcm: is a colour image \(RGB\)"),
        ({"PhotometricInterpretation": "YBR_FULL", "SamplesPerPixel": 3}, r"000\.dcm: is a colour image \(YBR_FULL\)"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"000\.dcm: is a colour image \(PALETTE COLOR\)"),
        (
            {"PixelData": STORED[:, :, 0].tobytes()[:-2]},
            r"000\.dcm cannot be read \(68 of 70 bytes of voxels\): is it cut short",
        ),
        ({"PixelData": None}, r"000\.dcm cannot be read \(.*\): is it cut short\?"),
        ({"Rows": 0}, r"000\.dcm has 7 x 0 pixels: expected at least one"),
        ({"NumberOfFrames": 3}, r"000\.dcm: has 3 frames, but positions for 0: .*convert it with dcm2niix"),
    ],
)
def test_what_a_slice_must_have(tmp_path, fields, text):
    refused(write_slices(tmp_path / "a", slices(lambda k: fields)), text)


def test_rounding_makes_no_second_orientation(tmp_path):
    edge = [0.99995, 0.0099999, 0, -0.0099999, 0.99995, 0]
    noise = slices(lambda k: {"ImageOrientationPatient": [f"{n - 1e-9 * (k % 2 and n > 0.9):.10f}" for n in edge]})
    for k, dataset in enumerate(noise):
        dataset.ImagePositionPatient = [0, 0, 2.5 * k]
    assert read_volume(write_slices(tmp_path / "a", noise)).grid == STORED.shape
    turned = write_slices(tmp_path / "b", noise)
    save(turned / "localiser.dcm", slice_of(STORED, AFFINE, 0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))
    refused(turned, "its slices have 2 orientations: expected one; is it a localiser")


def test_a_slice_that_is_there_twice(tmp_path):
    twice = write_slices(tmp_path / "twice", slices())
    (twice / "again.dcm").write_bytes((twice / "001.dcm").read_bytes())
    refused(twice, r"001\.dcm and again\.dcm have the same position: expected one slice per position; remove one")
    echoes = slices(lambda k: {"EchoTime": 10}) + slices(lambda k: {"EchoTime": 80})
    refused(
        write_slices(tmp_path / "echoes", echoes),
        r"holds several images of each slice \(echo times \(10\.?0?, 80\.?0?\)\): expected one volume",
    )


def test_slices_that_form_no_volume(tmp_path):
    image = as_itk(STORED, AFFINE)
    refused(
        write_series(tmp_path / "gap", image, skip=(2,)),
        r"slices are 2\.50 mm apart, but 001_1\.dcm and 003_1\.dcm are 5\.00 mm: is one missing",
    )
    refused(write_series(tmp_path / "moved", image, moved=2), r"moved: .* 3\.00 mm: is one moved\?")
    between = slice_of(STORED, AFFINE, 2)
    ends = [np.array(slice_of(STORED, AFFINE, k).ImagePositionPatient, dtype=float) for k in (2, 3)]
    between.ImagePositionPatient = [float(f"{mm:.6f}") for mm in np.mean(ends, axis=0)]
    refused(write_slices(tmp_path / "between", [*slices(), between]), r"are 1\.25 mm: is one moved\?")
    refused(
        write_series(tmp_path / "tilted", image, tilt=0.2),
        r"slices are shifted sideways by up to 0\.9 mm, as with a tilted",
    )
    write_series(tmp_path / "two", image)
    refused(write_series(tmp_path / "two", image, series=f"{SERIES}2"), "holds 2 DICOM series: expected one")
    (tmp_path / "none").mkdir()
    refused(tmp_path / "none", "holds no DICOM image")


def test_a_single_slice_is_as_thick_as_its_header_says(tmp_path):
    one = write_slices(tmp_path / "one", slices()[:1])
    np.testing.assert_allclose(read_volume(one).affine, AFFINE, atol=1e-4)
    zero = write_slices(tmp_path / "zero", slices(lambda k: {"SpacingBetweenSlices": 0})[:1])
    np.testing.assert_allclose(read_volume(zero).affine, AFFINE, atol=1e-4)
    refused(write_slices(tmp_path / "flat", slices(lambda k: {"SliceThickness": None})[:1]), "has no SliceThickness")


def test_a_series_without_uid(tmp_path):
    folder = write_slices(tmp_path / "a", slices(lambda k: {"SeriesInstanceUID": None}))
    assert_shows(read_volume(folder), STORED, AFFINE)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_files_without_preamble(tmp_path, syntax):
    folder = tmp_path / "a"
    folder.mkdir()
    for k, dataset in enumerate(slices()):
        save(folder / f"{k}", dataset, syntax, preamble=False)
    assert (folder / "0").read_bytes()[:2] == b"\x08\x00"
    assert is_series(folder)
    assert_shows(read_volume(folder), STORED, AFFINE)
    (tmp_path / "numbers.raw").write_bytes(np.full(1000, 8, dtype=np.int32).tobytes())
    assert not is_dicom(tmp_path / "numbers.raw")


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless]
)
@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.uint8])
def test_transfer_syntaxes(tmp_path, syntax, kind):
    stored = (LARGER - (100 if kind == np.int16 else 0)).astype(kind)
    (tmp_path / "a").mkdir()
    for k, dataset in enumerate(slices(lambda k: {"RescaleSlope": 2, "RescaleIntercept": -3}, stored)):
        if syntax == uid.RLELossless:
            save(tmp_path / "plain.dcm", dataset)
            dataset.compress(syntax, generate_instance_uid=False)
        elif syntax == uid.ExplicitVRBigEndian:
            dataset.PixelData = stored[:, :, k].T.astype(stored.dtype.newbyteorder(">")).tobytes()
        save(tmp_path / "a" / f"{k}.dcm", dataset, syntax)
    assert_shows(read_volume(tmp_path / "a"), 2.0 * stored - 3, AFFINE)


def test_monochrome1_is_inverted_so_that_what_is_shown_bright_is_high(tmp_path):
    fields = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11, "RescaleSlope": 2}
    inverted = write_slices(tmp_path / "a", slices(lambda k: fields, STORED.astype(np.uint16)))
    assert_shows(read_volume(inverted), 2.0 * (4095 - STORED), AFFINE)
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(inverted / "000.dcm")))
    np.testing.assert_array_equal(read_volume(inverted).array[0, :, :, 0], theirs[0].T)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEGLS", "JPEG2000"])
def test_lossless_codecs(tmp_path, compressor):
    folder = write_series(tmp_path / "a", as_itk(LARGER, AFFINE), compressor=compressor)
    assert dcmread(folder / "000_1.dcm").file_meta.TransferSyntaxUID.is_compressed
    assert_shows(read_volume(folder), LARGER, AFFINE)
    whole = (folder / "002_1.dcm").read_bytes()
    (folder / "002_1.dcm").write_bytes(whole[:-20])
    refused(folder, r"002_1\.dcm cannot be read \(.*\): is it cut short")


def test_unused_bits_are_no_part_of_a_number(tmp_path):
    twelve = slices(lambda k: {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0})
    for k, dataset in enumerate(twelve):
        dataset.PixelData = (STORED[:, :, k].T.astype(np.uint16) | 0xF000).tobytes()
    assert_shows(read_volume(write_slices(tmp_path / "a", twelve)), STORED, AFFINE)


@pytest.mark.parametrize("name", [b"n\xe4me", "näme".encode(), b"n me"])
def test_names_that_are_not_utf8(tmp_path, name):
    folder = write_slices(tmp_path / os.fsdecode(name), slices())
    (folder / "000.dcm").rename(folder / os.fsdecode(name))
    assert_shows(read_volume(folder), STORED, AFFINE)


def test_what_takes_more_memory_than_it_may_is_refused_unread(tmp_path):
    folder, needed = write_slices(tmp_path / "a", slices()), (4 + 2 * 2) * STORED.size
    read_volume(folder, memory=needed)
    with pytest.raises(DataError, match=r"a: its header has a grid of .* GiB: the limit is "):
        read_volume(folder, memory=needed - 1)


def test_slices_of_two_kinds_are_reported(tmp_path):
    def kinds(k):
        return {"ImageType": ["ORIGINAL", "PRIMARY", "P" if k == 2 else "M"], "EchoTime": 10 + 70 * (k > 3)}

    text = r"differ in echo times \(10\.?0?, 80\.?0?\), types of image .*'M'.*'P'.*: check that they are of one series"
    with pytest.warns(UserWarning, match=text):
        read_volume(write_slices(tmp_path / "kinds", slices(kinds)))


def test_values_that_are_not_a_line_of_the_stored_numbers_are_refused(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "US", b"\0\0\x09\0"
    refused(write_slices(tmp_path / "lut", slices(lambda k: {"ModalityLUTSequence": [table]})), "has a Modality LUT")


def test_voxels_that_are_not_whole_numbers_are_refused(tmp_path):
    floats = slices(lambda k: {"FloatPixelData": STORED[:, :, k].T.astype(np.float32).tobytes(), "PixelData": None})
    refused(write_slices(tmp_path / "float", floats), "its voxels are not whole numbers")


def test_a_single_slice_is_as_thick_as_the_distance_to_the_next(tmp_path):
    fields = {"SpacingBetweenSlices": 5, "SliceThickness": 4}
    volume = read_volume(write_slices(tmp_path / "a", [slice_of(STORED, AFFINE, 0, **fields)]))
    assert np.linalg.norm(volume.affine[:3, 2]) == pytest.approx(5)
