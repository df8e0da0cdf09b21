import xml.etree.ElementTree as xml

import numpy as np

from attention_unet.scans.label_table import COLOURS, describe_label_map, label_extension
from attention_unet.scans.labels import Labels

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


def test_what_a_map_holds():
    label_map = np.array([0, 4, 4, 7, 0], dtype=np.uint8).reshape(5, 1, 1)
    assert describe_label_map(label_map, LABELS, voxel_ml=0.5)["labels"] == {
        "4": {"name": "left & right", "colour": COLOURS[0], "volume_ml": 1.0},
        "7": {"name": "<b>", "colour": COLOURS[1], "volume_ml": 0.5},
    }
    regions = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))
    of_regions = describe_label_map(np.array([[[1, 2, 2, 0]]], dtype=np.uint8), regions, voxel_ml=1.0)["labels"]
    assert {entry["name"]: entry["volume_ml"] for entry in of_regions.values()} == {"whole": 3.0, "core": 2.0}
