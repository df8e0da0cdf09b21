import nibabel as nib
import numpy as np
from PIL import Image, ImageColor, ImageDraw

from attention_unet.inference.preview import GAP, draw_preview
from attention_unet.scans.label_table import colour_of
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import volume_of_array
from tests.conftest import ORIENTATIONS, oblique_affine

LABELS = Labels({"spot": (2,), "elsewhere": (5,)}, (2, 5))


def drawn(axes=(0, 1, 2), signs=(1, 1, 1)):
    """A spot at the patient's left, front and top, on a ramp."""
    label = np.zeros((30, 40, 20), dtype=np.uint8)
    label[4:8, 30:36, 14:18] = 2
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32), label.shape)
    affine = oblique_affine((2.0, 1.0, 3.0))
    turned = [nib.Nifti1Image(a, affine).as_reoriented(np.column_stack([axes, signs])) for a in (ramp.copy(), label)]
    volume = volume_of_array(np.asarray(turned[0].dataobj), turned[0].affine)
    return np.asarray(draw_preview(volume, np.asarray(turned[1].dataobj), LABELS))


def test_left_is_on_the_right_and_up_is_up():
    """Panels of 60 x 40, 60 x 60 and 40 x 60 mm, side by side, the longest edge 320 pixels."""
    picture = drawn()
    spot = (picture == ImageColor.getrgb(colour_of(0))).all(axis=-1)
    axial, coronal, sagittal = (
        np.argwhere(spot[GAP : GAP + 320, first : first + wide]).mean(axis=0)
        for first, wide in ((GAP, 320), (2 * GAP + 320, 320), (3 * GAP + 640, 213))
    )
    mm = 320 / 60
    np.testing.assert_allclose(axial, ((320 - 40 * mm) / 2 + (40 - 33) * mm, (60 - 12) * mm), atol=1.5 * mm)
    np.testing.assert_allclose(coronal, ((60 - 48) * mm, (60 - 12) * mm), atol=1.5 * mm)
    np.testing.assert_allclose(sagittal, ((60 - 48) * mm, (40 - 33) * mm), atol=1.5 * mm)


def test_the_sides_of_the_patient_are_named():
    """Of a volume that shows nothing, the letters alone: the same as on a black card."""
    volume = volume_of_array(np.zeros((20, 20, 20), dtype=np.float32), np.eye(4))
    picture = np.asarray(draw_preview(volume, np.zeros((20, 20, 20), dtype=np.uint8), LABELS))
    for panel, sides in enumerate(("RL", "RL", "AP")):
        first = GAP + panel * (GAP + 320)
        card = Image.new("RGB", (320, 320))
        for side, x, anchor in zip(sides, (2, 317), ("lm", "rm"), strict=True):
            ImageDraw.Draw(card).text((x, 160), side, fill="white", anchor=anchor, stroke_width=1, stroke_fill="black")
        np.testing.assert_array_equal(picture[GAP : GAP + 320, first : first + 320], np.asarray(card))
    assert picture[GAP : GAP + 320].any()


def test_storage_order_changes_nothing():
    reference = drawn()
    for axes, signs in ORIENTATIONS[::5]:
        np.testing.assert_array_equal(drawn(axes, signs), reference)
