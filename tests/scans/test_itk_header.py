"""Headers and voxels of NRRD and MetaImage: faults that SimpleITK ignores are refused."""

import contextlib
import gzip
import os
import warnings
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.errors import DataError
from attention_unet.scans.volume_files import list_files
from attention_unet.scans.volumes import read_volume
from tests.scans.build import STORED
from tests.scans.dicom_files import as_itk


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [False, True])
def test_no_voxel_of_a_damaged_file_is_wrong(tmp_path, ending, compressed):
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(as_itk(STORED, np.eye(4)), str(path), useCompression=compressed)
    whole = path.read_bytes()
    for size in (0, 40, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=rf"a\{ending}: "):
            read_volume(path)
    for size in range(len(whole) - 12, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="cut short"):
            read_volume(path)
    if not compressed:
        path.write_bytes(whole + b"\n")
        np.testing.assert_array_equal(read_volume(path).array[0], STORED)
        path.write_bytes(whole + b"more")
        with pytest.raises(DataError, match="has data after the 420 bytes of its voxels"):
            read_volume(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_no_flipped_bit_of_packed_voxels_goes_unnoticed(tmp_path, ending):
    sitk.WriteImage(as_itk(STORED, np.eye(4)), str(tmp_path / f"a{ending}"), useCompression=True)
    file = list_files(tmp_path / f"a{ending}")[-1]
    whole, noticed = file.read_bytes(), 0
    first = len(whole) - len(whole[whole.rfind(b"\n\n") + 2 :]) if ending == ".nrrd" else 0
    first = whole.index(b"LOCAL\n") + 6 if ending == ".mha" else first
    for position in range(first, len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << (position % 8)
        file.write_bytes(flipped)
        with contextlib.suppress(DataError):
            np.testing.assert_array_equal(read_volume(tmp_path / f"a{ending}").array[0], STORED)
            noticed -= 1
        noticed += 1
    assert noticed > 0.9 * (len(whole) - first)  # some bytes of gzip have no effect on the voxels


@pytest.mark.parametrize("encoding", ["gzip", "text"])
def test_voxels_packed_otherwise(tmp_path, encoding):
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 5 6\nendian: little\nspacings: 1 1 1\n"
    numbers = " ".join(map(str, STORED.ravel(order="F"))).encode()
    packed = gzip.compress(STORED.tobytes(order="F")) if encoding == "gzip" else numbers
    (tmp_path / "a.nrrd").write_bytes(f"{head}encoding: {encoding}\n\n".encode() + packed)
    with pytest.warns(UserWarning, match="has no orientation"):
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array[0], STORED)


@pytest.mark.parametrize("size", ["0 5 6", "-7 5 6"])
def test_a_grid_of_no_voxels(tmp_path, size):
    head = SIZED.replace("7 5 6", size)
    for voxels in (b"", STORED.tobytes()):
        (tmp_path / "a.mha").write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + voxels)
        with pytest.raises(DataError, match=r"a\.mha: its header has a grid of"):
            read_volume(tmp_path / "a.mha")


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_voxels_that_were_not_copied_with_their_header(tmp_path, ending, capfd):
    sitk.WriteImage(as_itk(STORED, np.eye(4)), str(tmp_path / f"a{ending}"))
    (tmp_path / "a.raw").unlink()
    with pytest.raises(DataError, match=rf"a\.raw: does not exist: expected the voxels of a\{ending}"):
        read_volume(tmp_path / f"a{ending}")
    assert capfd.readouterr() == ("", "")


META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 7 5 6\nElementType = MET_SHORT\n"
SIZED = META + "ElementSpacing = 1 1 1\n"
SCALE = "ElementToIntensityFunction"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 5 6\nendian: little\nencoding: raw\n"


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        ("a.mha", META, "has no voxel size: export it again with spacing"),
        ("a.mha", META + "ElementSpacing = 1 -1 1\n", "has voxels of 1 -1 1 mm: expected sizes above 0"),
        ("a.mha", META + "ElementSpacing = 1 0 1\n", "expected sizes above 0"),
        ("a.mha", META + "ElementSpacing = 1 nan 1\n", "has '1 nan 1': expected numbers"),
        ("a.mha", SIZED + "Offset = 0 NaN 0\n", "has '0 NaN 0': expected numbers"),
        ("a.mha", SIZED + "TransformMatrix = 1 0 0 0 x 0 0 0 1\n", "expected numbers"),
        ("a.mha", SIZED.replace("NDims = 3\n", ""), "its header lacks NDims"),
        ("a.mha", SIZED.replace("7 5 6", "7 5"), "has DimSize = 7 5: expected 3 whole"),
        ("a.mha", SIZED + "ElementNumberOfChannels = 3\n", "cut short"),
        (
            "a.mha",
            SIZED.replace("SHORT", "UCHAR") + "ElementNumberOfChannels = 3\n",
            "such as colours.*save it in grey",
        ),
        ("a.mha", SIZED.replace("DimSize", "dimsize"), "its header lacks DimSize"),
        ("a.mha", SIZED.replace("e = I", "e I"), "has the line 'ObjectType Image'"),
        ("a.mha", META + "elementspacing = 1 1 1\n", "has no voxel size"),
        ("a.mha", META + "ElementSpacing = 1 1\n", "ElementSpacing = 1 1: expected 3 numbers"),
        ("a.mha", SIZED + "TransformMatrix = 1 0 0\n", "expected 9 numbers"),
        ("a.mha", SIZED.replace("_SHORT", "_SHIRT"), "expected a type of numbers such as"),
        ("a.mha", "Offset = 0 0 0\n" + SIZED, "NDims = 3: expected this field before Offset"),
        ("a.mha", META + "CompressedData = yes\nElementSpacing = 1 1 1\n", "CompressedData = yes: expected True or"),
        ("a.mha", META + "CompressedData = T\nElementSpacing = 1 1 1\n", "is damaged or cut short"),
        ("a.mha", f"{SIZED}{SCALE}Slope = 2.5\n", "Slope = 2.5: expected 1, because it would not be applied"),
        ("a.mha", f"{SIZED}{SCALE}Offset = 9\n", "Offset = 9: expected 0, because it would not be applied"),
        ("a.mha", SIZED + "HeaderSize = 10\n", "HeaderSize = 10: expected 150, its size in bytes"),
        ("a.nrrd", NRRD, "has no voxel size"),
        ("a.nrrd", NRRD + "space directions: (3,0,0) none (0,0,3)\n", "expected a direction for each axis"),
        ("a.nrrd", NRRD + "space directions: (3,0,0) (nan,nan,nan) (0,0,3)\n", "direction for each axis"),
        ("a.nrrd", NRRD + "spacings: 1 nan 1\n", "expected numbers"),
        ("a.nrrd", NRRD + "spacings: 1 -2 1\n", "expected sizes above 0"),
        ("a.nrrd", NRRD + "spacings: 1 1 1\nspace origin: (0,inf,0)\n", "expected numbers"),
        (
            "a.nrrd",
            "NRRD0004\ntype: uchar\ndimension: 4\nsizes: 3 7 5 6\nencoding: raw\nspacings: nan 1 1 1\n"
            "kinds: RGB-color space space space\n",
            "expected numbers|such as colours",
        ),
        (
            "a.nrrd",
            "NRRD0004\ntype: uchar\ndimension: 4\nsizes: 3 7 5 6\nencoding: raw\nspace: left-posterior-superior\n"
            "space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: RGB-color space space space\n",
            "such as colours.*save it in grey",
        ),
        *(
            (
                "a.nrrd",
                "NRRD0004\ntype: uchar\ndimension: 4\nsizes: 3 7 5 6\nencoding: raw\nspace: left-posterior-superior\n"
                f"space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: {kind} domain domain domain\n",
                "such as colours.*save it in grey",
            )
            for kind in ("3-color", "RGBcolor", "hsv")
        ),
    ],
)
def test_headers_that_simpleitk_would_fill_in(tmp_path, capfd, name, header, message):
    end = "ElementDataFile = LOCAL\n" if name.endswith(".mha") else "\n"
    (tmp_path / name).write_bytes((header + end).encode() + STORED.tobytes(order="F"))
    with pytest.raises(DataError, match=rf"{name}: .*{message}"):
        read_volume(tmp_path / name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "field"), [("a.mhd", "ElementDataFile = LIST\na1.raw\n"), ("a.nhdr", "data file: a%d.raw 1 6 1\n")]
)
def test_voxels_in_many_files(tmp_path, name, field):
    header = SIZED if name.endswith(".mhd") else NRRD + "spacings: 1 1 1\n"
    (tmp_path / name).write_text(header + field)
    with pytest.raises(DataError, match="its voxels are in several files: expected one; write them into one file"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize(
    "fields",
    [
        "dimension: 4\nsizes: 1 7 5 6\nspacings: NaN 1 1 1\nkinds: vector space space space\n",
        "dimension: 4\nsizes: 1 7 5 6\nspace: left-posterior-superior\n"
        "space directions: (nan,nan,nan) (1,0,0) (0,1,0) (0,0,1)\nkinds: vector space space space\n",
        "dimension: 3\nsizes: 7 5 6\nspacings: 1 1 1\nSpacings:=a note of somebody\nencoding:=what: ever\n",
    ],
)
def test_headers_of_other_programs_that_are_good(tmp_path, fields):
    head = f"NRRD0005\ntype: short\nendian: little\nencoding: raw\n{fields}\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + STORED.tobytes(order="F"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array[0], STORED)


def test_a_metaimage_of_colons(tmp_path):
    fields = SIZED + "ElementDataFile = LOCALLY.raw\n"
    (tmp_path / "a.mhd").write_text(fields.replace(" = ", ": "))
    (tmp_path / "LOCALLY.raw").write_bytes(STORED.tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").array[0], STORED)


def test_voxels_that_an_mha_names_and_that_are_not_there(tmp_path, capfd):
    (tmp_path / "a.mha").write_text(SIZED + "ElementDataFile = LOCAM\n")
    with pytest.raises(DataError, match=r"LOCAM: does not exist: expected the voxels of a\.mha"):
        read_volume(tmp_path / "a.mha")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["näme.raw".encode(), b"n\xe4me.raw", b"te=30.raw"])
@pytest.mark.parametrize("ending", [".mhd", ".nhdr", ".nrrd"])
def test_voxels_in_a_file_of_any_name(tmp_path, name, ending):
    meta = SIZED + "ElementDataFile = "
    header = meta if ending == ".mhd" else NRRD + "spacings: 1 1 1\ndata file: "
    for stem in (b"a", b"n\xe4me"):
        path = tmp_path / f"{os.fsdecode(stem)}{ending}"
        path.write_bytes(header.encode() + name + b"\n")
        (tmp_path / os.fsdecode(name)).write_bytes(STORED.tobytes(order="F"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.testing.assert_array_equal(read_volume(path).array[0], STORED)
        (tmp_path / os.fsdecode(name)).write_bytes(STORED.tobytes(order="F")[:-1])
        with pytest.raises(DataError, match="is cut short"):
            read_volume(path)


def test_a_file_that_simpleitk_would_take_for_a_list_of_files(tmp_path):
    (tmp_path / "a.mhd").write_text(SIZED + "ElementDataFile = LISTED.raw\n")
    (tmp_path / "LISTED.raw").write_bytes(STORED.tobytes(order="F"))
    with pytest.raises(DataError, match="are in several files"):
        read_volume(tmp_path / "a.mhd")


def test_packed_bytes_to_be_skipped_are_counted_unpacked(tmp_path):
    (tmp_path / "a.raw.gz").write_bytes(gzip.compress(b"x" * 10 + STORED.tobytes(order="F")))
    for skip in (-1, 10):  # -1: the voxels are the last bytes
        head = NRRD.replace("raw", "gzip") + f"spacings: 1 1 1\ndata file: a.raw.gz\nbyte skip: {skip}\n"
        (tmp_path / "a.nhdr").write_text(head)
        with pytest.warns(UserWarning, match="has no orientation"):
            np.testing.assert_array_equal(read_volume(tmp_path / "a.nhdr").array[0], STORED)
    (tmp_path / "a.raw.gz").write_bytes(gzip.compress(STORED.tobytes(order="F")))
    with pytest.raises(DataError, match="is cut short"):
        read_volume(tmp_path / "a.nhdr")


def test_a_header_and_an_empty_line_before_the_voxels_of_a_metaimage(tmp_path):
    head = f"{SIZED}\nHeaderSize = 152\nElementDataFile = LOCAL\n"
    assert len(head) == 152
    (tmp_path / "a.mha").write_bytes(head.encode() + STORED.tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mha").array[0], STORED)
    packed = zlib.compress(STORED.tobytes(order="F"))
    (tmp_path / "a.mhd").write_text(
        f"{SIZED}CompressedData = True\nCompressedDataSize = {len(packed)}\nHeaderSize = 10\nElementDataFile = a.zraw\n"
    )
    (tmp_path / "a.zraw").write_bytes(b"x" * 10 + packed)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").array[0], STORED)
    (tmp_path / "a.zraw").write_bytes(b"x" * 10 + packed[:-20])
    with pytest.raises(DataError, match=r"a\.mhd: cannot be read|a\.zraw: is"):
        read_volume(tmp_path / "a.mhd")


@pytest.mark.parametrize("skip", [16, -1])
def test_voxels_after_bytes_to_be_skipped(tmp_path, skip):
    header = NRRD + f"spacings: 1 1 1\ndata file: a.raw\nbyte skip: {skip}\n"
    (tmp_path / "a.nhdr").write_text(header)
    whole = b"x" * 16 + STORED.tobytes(order="F")
    (tmp_path / "a.raw").write_bytes(whole)
    with pytest.warns(UserWarning, match="has no orientation"):
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nhdr").array[0], STORED)
    (tmp_path / "a.raw").write_bytes(whole[:-17])
    with pytest.raises(DataError, match=r"a\.raw: is cut short|cannot be read"):
        read_volume(tmp_path / "a.nhdr")
