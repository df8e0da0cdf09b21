"""Prediction of volumes with networks whose answer is known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from attention_unet.errors import DataError
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.labels import Labels
from attention_unet.scans.orientation import Stack
from attention_unet.scans.volumes import read_volume, volume_of_array
from tests.conftest import oblique_affine, save_nifti
from tests.inference.build import CPU, LABELS, Answers, Threshold, output, plan_of, scan


def predicted(network, plan, volume, **wanted):
    return predict_volume([Model(network, plan, CPU)], volume, Settings(torch.float32, **wanted))


class Coarse(Threshold):
    """Network whose attention has three channels, on a grid half as fine."""

    def forward(self, x, full_output=False):
        weights = functional.avg_pool3d(x.abs(), 2)
        channels = torch.cat([weights, 2 * weights, 6 * weights], dim=1)
        return output(full_output, super().forward(x), {"skip 1": channels})


def test_attention_is_the_mean_of_its_channels_interpolated_to_the_scan(tmp_path):
    volume, z = scan(tmp_path, np.eye(4), grid=(8, 8, 8))
    found = predicted(Coarse(), plan_of(), volume, attention=True).attention["skip 1"]
    mean = 3 * np.abs(z).reshape(4, 2, 4, 2, 4, 2).mean(axis=(1, 3, 5))
    centres = np.stack(np.meshgrid(*[(np.arange(8) + 0.5) / 2 - 0.5] * 3, indexing="ij"))
    np.testing.assert_allclose(found, ndimage.map_coordinates(mean, centres, order=1, mode="nearest"), rtol=1e-4)


@pytest.mark.parametrize("patch", [(8, 8, 8), (16, 16, 16), (8, 8, 1), (1, 8, 8)])
def test_labels_lie_where_the_image_says(tmp_path, patch):
    """In every storage order, through windows, padding and slices, on the same spacing: exact to the voxel."""
    for axes, signs in [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((1, 0, 2), (-1, -1, -1))]:
        affine = oblique_affine(axes=axes, signs=signs)
        volume, z = scan(tmp_path, affine)
        plan = plan_of(patch, spacing=(0.9, 1.3, 2.5), dims=2 if 1 in patch else 3)
        prediction = predicted(Threshold(), plan, volume, attention=True)
        expected = np.where(z > 1, 3, np.where(z < -1, 9, 0))
        clear = np.abs(np.abs(z) - 1) > 1e-3
        np.testing.assert_array_equal(prediction.label_map[clear], expected[clear])
        assert prediction.label_map.dtype == np.uint8
        np.testing.assert_allclose(prediction.attention["skip 1"][clear], (np.abs(z) > 1)[clear], atol=1e-5)


def test_other_spacings_come_back_to_the_grid(tmp_path):
    above_mean = Answers(lambda x: torch.cat([0 * x, 50 * x, 0 * x - 9], dim=1))
    affine = oblique_affine()
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in (30, 24, 14)), indexing="ij"), axis=-1)
    ball = np.linalg.norm((voxels - np.array([15, 12, 7])) * (0.9, 1.3, 2.5), axis=-1) < 9
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", ball.astype(np.float32) * 100, affine))
    prediction = predicted(above_mean, plan_of(spacing=(1.2, 1.2, 1.2)), volume)
    found = prediction.label_map == 3
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.93


def test_overlapping_classes_are_painted_in_order(tmp_path):
    regions = Answers(lambda x: torch.cat([x, x - 1], dim=1) * 50)
    volume, z = scan(tmp_path, np.eye(4))
    labels = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))
    found = predicted(regions, plan_of(labels=labels), volume).label_map
    clear = (np.abs(z) > 1e-3) & (np.abs(z - 1) > 1e-3)
    np.testing.assert_array_equal(found[clear], (np.where(z > 1, 2, z > 0))[clear])


@pytest.mark.parametrize("axes", [(0,), (0, 2), (0, 1, 2)])
def test_mirrored_windows_are_averaged(tmp_path, axes):
    """Of a network that looks one way, what is left is what it says of both ways, and it is mirrored back."""
    leaning = Answers(
        lambda x: torch.cat([0 * x, 3 * x, -3 * x], dim=1).roll((1, 1, 1), dims=(2, 3, 4)),
        lambda x: torch.sigmoid(x).roll((1, 1, 1), dims=(2, 3, 4)),
    )
    volume, z = scan(tmp_path, np.eye(4), grid=(8, 8, 8))
    plan = plan_of(mirror_axes=axes)
    found = predicted(leaning, plan, volume, tta=True, attention=True, probabilities=True)
    ways = itertools.product(*((1, -1) if axis in axes else (1,) for axis in range(3)))
    seen = [np.roll(z, way, axis=(0, 1, 2)) for way in ways]
    expected = np.mean(
        [torch.softmax(torch.from_numpy(np.stack([0 * s, 3 * s, -3 * s])), dim=0).numpy() for s in seen], axis=0
    )
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(
        found.attention["skip 1"], np.mean([1 / (1 + np.exp(-s)) for s in seen], axis=0), atol=1e-4
    )


def test_several_models_are_averaged(tmp_path):
    affine = oblique_affine()
    volume, _ = scan(tmp_path, affine)
    plans = [plan_of(spacing=spacing) for spacing in ((0.9, 1.3, 2.5), (1.2, 1.2, 1.2), (2.0, 2.0, 2.0))]
    alone = [predicted(Threshold(), plan, volume, attention=True, probabilities=True) for plan in plans]
    models = [Model(Threshold(), plan, CPU) for plan in plans]
    together = predict_volume(models, volume, Settings(torch.float32, attention=True, probabilities=True))
    expected = np.mean([p.probabilities for p in alone], axis=0)
    np.testing.assert_allclose(together.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(
        together.attention["skip 1"], np.mean([p.attention["skip 1"] for p in alone], axis=0), rtol=1e-5
    )
    np.testing.assert_array_equal(together.label_map, LABELS.decode(expected.argmax(axis=0)[None]))


def test_uncertainty_is_the_entropy_and_the_part_of_it_in_which_models_differ(tmp_path):
    def certain(index):
        """Return a network that is certain of a class; to it all are alike if this is -1."""
        logits = 50.0 * (torch.arange(3) == index).view(1, 3, 1, 1, 1)
        return Answers(lambda x: logits + 0 * x)

    def uncertainty(*networks):
        models = [Model(network, plan_of(), CPU) for network in networks]
        found = predict_volume(models, volume, Settings(torch.float32, uncertainty=True)).uncertainty
        return {measure: round(float(values.mean()), 4) for measure, values in found.items() if np.ptp(values) < 1e-5}

    volume, _ = scan(tmp_path, oblique_affine())
    assert uncertainty(certain(-1)) == {"entropy": 1.0}
    assert uncertainty(certain(1)) == {"entropy": 0.0}
    assert uncertainty(certain(-1), certain(-1)) == {"entropy": 1.0, "disagreement": 0.0}
    of_two = round(np.log(2) / np.log(3), 4)
    assert uncertainty(certain(0), certain(2)) == {"entropy": of_two, "disagreement": of_two}


@pytest.mark.parametrize(
    ("grid", "spacing", "found"),
    [
        ((70, 60, 70), 1.0, []),
        ((30, 90, 30), 1.0, ["30 x 90 x 30"]),
        ((36, 24, 24), 2.5, ["88 x 58 x 58"]),
        ((30, 8, 30), 1.0, []),
        ((30, 30, 1), 1.0, ["30 x 30 x 1"]),
        ((40, 40, 40), 0.15, ["7 x 7 x 7"]),
    ],
)
def test_a_scan_of_much_more_or_less_than_was_trained_on_is_warned_of(tmp_path, recwarn, grid, spacing, found):
    volume, _ = scan(tmp_path, np.diag([-spacing, -spacing, spacing, 1.0]), grid=grid)
    predicted(Threshold(), plan_of((32, 32, 32)), volume)
    told = [str(warning.message) for warning in recwarn]
    assert [text.partition(" mm, ")[0] for text in told] == [f"{volume.path}: is about {size}" for size in found]
    assert all("trained on scans of up to about 40 x 40 x 40 mm" in text for text in told)


def test_other_number_of_channels_is_refused(tmp_path):
    volume, _ = scan(tmp_path, np.eye(4))
    with pytest.raises(DataError, match=r"scan.nii.gz: has 1 channel: the model was trained on 2 \(T2, ADC\)"):
        predicted(Threshold(), plan_of(channels=("T2", "ADC")), volume)


def test_one_channel_of_several_by_a_network_that_was_left_training(tmp_path):
    """Weights that drop out, or statistics of the batch, would change what is predicted."""
    volume, _ = scan(tmp_path, np.eye(4))
    both = replace(volume, array=np.concatenate([0 * volume.array, volume.array]))
    network = Threshold().train()
    expected = predicted(Threshold(), plan_of(), volume).label_map
    np.testing.assert_array_equal(predicted(network, plan_of(), both, channel=1).label_map, expected)
    assert not network.training


def test_where_nothing_was_predicted_is_background_for_certain(tmp_path):
    """Windows of only background are skipped; of what lies in them there is no doubt, and nothing attended."""
    bright = Answers(lambda x: torch.cat([0 * x, 0 * x + 99, 0 * x], dim=1), torch.ones_like)
    array = np.full((40, 8, 8), -5, dtype=np.float32)
    array[:3], array[-2:] = 100, 90
    volume = read_volume(save_nifti(tmp_path / "a.nii", array, np.eye(4)))
    found = predicted(bright, plan_of(), volume, attention=True, probabilities=True, uncertainty=True)
    skipped = found.label_map[:, 0, 0] == 0
    assert skipped[12:28].all()
    assert not skipped[:3].any()
    np.testing.assert_array_equal(found.probabilities[0, :, 0, 0], skipped)
    np.testing.assert_array_equal(found.attention["skip 1"][:, 0, 0], ~skipped)
    assert (found.uncertainty["entropy"] < 1e-6).all()


class Overflows(Threshold):
    """Network that fails in one window."""

    def forward(self, x, full_output=False):
        logits = super().forward(x)
        return logits * (torch.nan if x.max() > 5 else 1)


def test_a_network_that_returns_nan_is_no_background():
    array = np.random.RandomState(0).normal(size=(8, 8, 24)).astype(np.float32)
    array[4, 4, 20] = 60
    with pytest.raises(DataError, match="the array: the network returned NaN or infinite values: look at"):
        predict_volume([Model(Overflows(), plan_of(), CPU)], volume_of_array(array, np.eye(4)))


def test_attention_of_a_network_that_was_left_in_training_mode():
    volume = volume_of_array(np.random.RandomState(0).normal(size=(8, 8, 8)), np.eye(4))
    model = load_model("hippocampus")
    model.network.train()
    assert "skip 1" in predict_volume([model], volume, Settings(attention=True)).attention


def test_a_closed_gate_is_told_apart_from_voxels_without_a_window():
    volume = volume_of_array(np.random.RandomState(0).normal(size=(8, 8, 8)).astype(np.float32), np.eye(4))
    found = predict_volume([Model(Threshold(), plan_of(), CPU)], volume, Settings(attention=True))
    attention = found.attention["skip 1"]
    assert 0 < attention.min() < 1e-5 < attention.max() == 1


def test_few_slices_are_padded_with_copies_of_them():
    """Among zeros they lost up to 0.14 Dice (docs/experiments.md, 2026-11-30)."""
    network, seen = Threshold(), []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, 0]))
    plan = replace(plan_of(), preprocessing=Preprocessing((1.0, 1.0, 9.0), False, Stack.upright(2)))
    volume = volume_of_array(np.random.RandomState(0).normal(size=(8, 8, 3)), np.diag([1.0, 1.0, 9.0, 1.0]))
    predict_volume([Model(network, plan, CPU)], volume)
    first, *_, last = (plane.flatten() for plane in seen[0].unbind(2))
    assert first.count_nonzero() == last.count_nonzero() == 64
    torch.testing.assert_close(first, seen[0][..., 2].flatten())
    torch.testing.assert_close(last, seen[0][..., 4].flatten())


def test_models_that_turn_slices_in_different_ways_are_refused():
    turned = Stack(2, ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
    volume = volume_of_array(np.random.RandomState(0).normal(size=(10, 12, 6)), np.diag([1.0, 1.0, 4.0, 1.0]))
    models = []
    for stack in (Stack.upright(2), turned, Stack.upright(2)):
        plan = replace(plan_of(), preprocessing=Preprocessing((1.0, 1.0, 4.0), False, stack))
        models.append(Model(Threshold(), plan, CPU))
    alone = predict_volume(models[:1], volume).label_map
    np.testing.assert_array_equal(predict_volume(models[1:2], volume).label_map, alone)
    np.testing.assert_array_equal(predict_volume(models[::2], volume).label_map, alone)
    with pytest.raises(DataError, match="the models turn its thick slices in different ways"):
        predict_volume(models, volume)
