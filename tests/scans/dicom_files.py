"""Write DICOM files with known voxels and geometry: single slices, and enhanced multi-frame files."""

import locale

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, Sequence, uid
from pydicom.dataset import FileMetaDataset

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
SERIES = "1.2.826.0.1.3680043.2.1125.1"
HEADER = {  # of a complete series, beside the geometry
    "PatientName": "Doe^Jane", "PatientID": "P7", "PatientBirthDate": "19700101", "PatientSex": "F",
    "StudyInstanceUID": f"{SERIES}.9", "StudyID": "1", "StudyDate": "20260101", "StudyTime": "120000",
    "AccessionNumber": "", "ReferringPhysicianName": "", "FrameOfReferenceUID": f"{SERIES}.8", "Modality": "MR",
    "Manufacturer": "scanner", "SeriesNumber": 3, "PositionReferenceIndicator": "", "PatientPosition": "HFS",
}  # fmt: skip


def as_itk(array, affine):
    """Return an image of SimpleITK. Its positions are in mm to the left, back and top (LPS+)."""
    image = sitk.GetImageFromArray(array.T)
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3, :3]
    spacing = np.linalg.norm(lps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps / spacing).ravel().tolist())
    image.SetOrigin((np.diag([-1.0, -1.0, 1.0]) @ affine[:3, 3]).tolist())
    return image


def write_series(folder, image, skip=(), series=SERIES, shuffled=False, moved=None, tilt=0.0, compressor=None):
    """Write a series with SimpleITK.

    Args:
        folder: folder of the files.
        image: image of SimpleITK.
        skip: slices that are left out.
        series: UID of the series.
        shuffled: whether the names of files do not follow the positions.
        moved: slice that is shifted by a fifth of the slice distance.
        tilt: shift of each slice in its plane against the slice below, in voxels.
        compressor: codec of the voxels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer, locale_before = sitk.ImageFileWriter(), locale.setlocale(locale.LC_ALL)
    writer.KeepOriginalImageUIDOn()
    if compressor:
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
    direction = image.GetDirection()
    directions = [direction[i] for i in (0, 3, 6, 1, 4, 7)]
    names = list(range(image.GetSize()[2]))
    if shuffled:
        np.random.RandomState(0).shuffle(names)
    for k, name in enumerate(names):
        if k in skip:
            continue
        plane = image[:, :, k]
        position = image.TransformContinuousIndexToPhysicalPoint((k * tilt, 0, k + 0.2 * (k == moved)))
        for tag, value in {
            "0008|0008": "DERIVED\\SECONDARY",
            "0008|0060": "MR",
            "0010|0010": "Doe^Jane",
            "0020|000e": series,
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0008|0018": f"{series}.{k}",
            "0020|0032": "\\".join(f"{p:.8f}" for p in position),
            "0020|0037": "\\".join(f"{d:.10f}" for d in directions),
            "0020|0013": str(k),
        }.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{name:03d}_{series[-1]}.dcm"))
        writer.Execute(plane)
    locale.setlocale(locale.LC_ALL, locale_before)  # SimpleITK sets it to C when it writes DICOM
    return folder


def geometry_of(affine):
    """Return the geometry fields that all slices share, and a function for the position of slice k."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = (lps[:3, :3] / spacing).T
    shared = {
        "ImageOrientationPatient": [f"{n:.10f}" for n in directions[:2].ravel()],
        "PixelSpacing": [f"{spacing[1]:.8f}", f"{spacing[0]:.8f}"],
        "SliceThickness": f"{spacing[2]:.8f}",
    }
    return shared, lambda k: [f"{n:.8f}" for n in (lps @ [0, 0, k, 1])[:3]]


def slice_of(stored, affine, k, **fields):
    """Return slice k of stored numbers (I, J, K) as a dataset of pydicom. Fields replace those of the geometry."""
    shared, position = geometry_of(affine)
    dataset = _pixels(stored[:, :, k].T)
    dataset.SOPClassUID, dataset.SOPInstanceUID = MR, f"{SERIES}.{k}"
    dataset.SeriesInstanceUID, dataset.ImageType = SERIES, ["ORIGINAL", "PRIMARY"]
    dataset.ImagePositionPatient = position(k)
    for name, value in {**shared, **fields}.items():
        if value is not None:
            setattr(dataset, name, value)
        elif name in dataset:
            delattr(dataset, name)
    return dataset


def write_slices(folder, datasets):
    """Write slices as 000.dcm, 001.dcm ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, dataset in enumerate(datasets):
        save(folder / f"{k:03d}.dcm", dataset)
    return folder


def enhanced(stored, affine, order=None, groups=lambda k: {}, **rescale):
    """Return an enhanced multi-frame dataset.

    Args:
        stored: stored numbers (I, J, K).
        affine: from voxel to RAS+ mm.
        order: slices in the order of the frames.
        groups: function from a slice to further functional groups: {sequence: {field: value}}.
        rescale: slope and intercept for all slices.
    """
    order = range(stored.shape[2]) if order is None else order
    shared, position = geometry_of(affine)
    dataset = _pixels(np.stack([stored[:, :, k].T for k in order]))
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.SeriesInstanceUID = ENHANCED_MR, f"{SERIES}.1", SERIES
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    dataset.NumberOfFrames = len(order)
    common = {
        "PixelMeasuresSequence": {name: shared[name] for name in ("PixelSpacing", "SliceThickness")},
        "PlaneOrientationSequence": {"ImageOrientationPatient": shared["ImageOrientationPatient"]},
    }
    if rescale:
        common["PixelValueTransformationSequence"] = rescale
    dataset.SharedFunctionalGroupsSequence = Sequence([_item(common)])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(
        [_item({"PlanePositionSequence": {"ImagePositionPatient": position(k)}, **groups(k)}) for k in order]
    )
    return dataset


def save(path, dataset, syntax=uid.ExplicitVRLittleEndian, preamble=True):
    """Write a dataset. Without the preamble the file starts with its first element."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    if preamble:
        dataset.save_as(path, enforce_file_format=True)
    else:
        del dataset.file_meta
        dataset.save_as(path, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=True)


def _pixels(planes):
    """Return a dataset of stored numbers (row, column) or (frame, row, column)."""
    dataset = Dataset()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = planes.shape[-2:]
    bits = 8 * planes.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(planes.dtype.kind == "i")
    dataset.PixelData = planes.tobytes()
    return dataset


def _item(groups):
    item = Dataset()
    for sequence, fields in groups.items():
        content = Dataset()
        for name, value in fields.items():
            setattr(content, name, value)
        setattr(item, sequence, Sequence([content]))
    return item
