"""Names and colours of classes, in the form that viewers read from a NIfTI file, and in plain JSON."""

import xml.etree.ElementTree as xml
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Extension
from numpy.typing import NDArray

from attention_unet.scans.labels import Labels

CARET = 30  # code of the extension in which Connectome Workbench keeps a table of labels
COLOURS = (  # ten that are told apart at a glance, and a paler one of each
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
    *("#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5"),
)


def colour_of(index: int) -> str:
    """Colour of a class by its place among all, from 0, as #rrggbb."""
    return COLOURS[index % len(COLOURS)]


def label_extension(labels: Labels) -> Nifti1Extension:
    """Table of labels for the header of a label map."""
    root = xml.Element("CaretExtension")
    volume = xml.SubElement(root, "VolumeInformation", Index="0")
    table = xml.SubElement(volume, "LabelTable")
    _add_label(table, 0, "background", "#000000", alpha=0)
    for index, (name, value) in enumerate(zip(labels.names, labels.painted, strict=True)):
        _add_label(table, value, name, colour_of(index), alpha=1)
    xml.SubElement(volume, "StudyMetaDataLinkSet")
    xml.SubElement(volume, "VolumeType").text = "Label"
    return Nifti1Extension(CARET, xml.tostring(root, encoding="UTF-8", xml_declaration=True))


def describe_label_map(label_map: NDArray[np.generic], labels: Labels, voxel_ml: float) -> dict[str, Any]:
    """Name, colour and volume of each class of a map, by the integer that paints it, in plain values."""
    described = {}
    for index, (name, group) in enumerate(labels.integers.items()):
        voxels = sum(int(np.count_nonzero(label_map == value)) for value in group)
        described[str(labels.painted[index])] = {
            "name": name,
            "colour": colour_of(index),
            "volume_ml": round(voxels * voxel_ml, 4),
        }
    return {"labels": described}


def _add_label(table: xml.Element, value: int, name: str, colour: str, alpha: int) -> None:
    red, green, blue = (f"{int(colour[i : i + 2], 16) / 255:.4f}" for i in (1, 3, 5))
    entry = xml.SubElement(table, "Label", Key=str(value), Red=red, Green=green, Blue=blue, Alpha=str(alpha))
    entry.text = name
