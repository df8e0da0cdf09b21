import xml.etree.ElementTree as xml

import numpy as np
import slicerio

from attention_unet.scans.label_table import colour_of, itk_snap_table, label_extension
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import read_labels, volume_of_array, write_like
from tests.conftest import oblique_affine

LABELS = Labels({"left & right": (4,), "<b>": (7, 9)}, (4, 7))


def test_viewers_find_names_and_colours_in_the_header():
    extension = label_extension(LABELS)
    assert extension.get_code() == 30
    root = xml.fromstring(extension.get_content())
    assert root.tag == "CaretExtension"
    assert root.find("VolumeInformation/VolumeType").text == "Label"
    table = root.findall("VolumeInformation/LabelTable/Label")
    assert [(label.get("Key"), label.text) for label in table] == [
        ("0", "background"),
        ("4", "left & right"),
        ("7", "<b>"),
    ]
    assert [round(255 * float(table[1].get(c))) for c in ("Red", "Green", "Blue")] == [0x1F, 0x77, 0xB4]
    assert table[0].get("Alpha") == "0"


def test_slicer_finds_names_and_colours(tmp_path):
    label_map = np.random.RandomState(0).choice([0, 4, 7], size=(5, 6, 7)).astype(np.uint8)
    scan = volume_of_array(np.zeros(label_map.shape), oblique_affine())
    write_like(tmp_path / "mask.seg.nrrd", label_map, scan, LABELS)
    found = slicerio.read_segmentation(str(tmp_path / "mask.seg.nrrd"))
    assert [(each["name"], each["labelValue"], each["color"]) for each in found["segments"]] == [
        ("left & right", 4, [0.1216, 0.4667, 0.7059]),
        ("<b>", 7, [1.0, 0.498, 0.0549]),
    ]
    assert found["segments"][0]["extent"] == [0, 4, 0, 5, 0, 6]
    np.testing.assert_array_equal(found["voxels"], label_map)
    np.testing.assert_allclose(found["ijkToLPS"], np.diag([-1, -1, 1, 1]) @ scan.affine, atol=1e-6)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.seg.nrrd").array[0], label_map)


def test_the_label_file_of_itk_snap():
    """Each line: integer, red, green, blue, opacity, two switches, name in quotes (ITK-SNAP's own description)."""
    lines = itk_snap_table(Labels({'a "b" c': (4,)}, (4,))).splitlines()
    assert [line.split(maxsplit=7) for line in lines] == [
        ["0", "0", "0", "0", "0", "0", "0", '"Clear Label"'],
        ["4", "31", "119", "180", "1", "1", "1", "\"a 'b' c\""],
    ]


def test_classes_of_a_whole_brain_have_colours_of_their_own():
    assert len({colour_of(index) for index in range(254)}) == 254
