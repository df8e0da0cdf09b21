"""Write names and colours of classes to the headers of label maps, for viewers, and to JSON."""

import xml.etree.ElementTree as xml
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Extension
from numpy.typing import NDArray

from attention_unet.scans.labels import Labels

CARET = 30  # code of the NIfTI extension of Connectome Workbench, which contains a label table
COLOURS = (  # ten distinct colours, and a paler one of each
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
    *("#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5"),
)


def colour_of(index: int) -> str:
    """Return the colour #rrggbb of a class by its number, from 0."""
    return COLOURS[index % len(COLOURS)]


def label_extension(labels: Labels) -> Nifti1Extension:
    """Return the label table for the header of a label map, as an extension of NIfTI."""
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
    """Return name, colour and volume of each class, by its integer in label maps, as plain values for JSON."""
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
    """Add a class to a label table."""
    red, green, blue = (f"{int(colour[i : i + 2], 16) / 255:.4f}" for i in (1, 3, 5))
    entry = xml.SubElement(table, "Label", Key=str(value), Red=red, Green=green, Blue=blue, Alpha=str(alpha))
    entry.text = name
