import dataclasses

import numpy as np
import pytest
import torch

from attention_unet.config import AugmentationConfig
from attention_unet.data.augmentation import appearance_change, margin, spatial_change

OFF = {f.name: 0.0 for f in dataclasses.fields(AugmentationConfig) if f.type is float and f.name != "rotation_degrees"}
APPEARANCE = ["noise", "blur", "bias_field", "brightness", "contrast", "gamma", "low_resolution"]


def item(dims=3, seed=0):
    grid = (12, 14, 10)[:dims]
    random = np.random.RandomState(seed)
    image = torch.from_numpy(random.normal(size=(1, *grid)).astype(np.float32))
    return {"image": image, "target": torch.from_numpy((random.uniform(size=(1, *grid)) > 0.5).astype(np.uint8))}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", APPEARANCE)
def test_each_change_alters_the_image_and_never_the_target(name, dims):
    change = appearance_change(AugmentationConfig(**{**OFF, name: 1.0}), axes=tuple(range(dims)))
    change.set_random_state(seed=1)
    before, after = item(dims), change(item(dims))
    assert not torch.allclose(torch.as_tensor(after["image"]), before["image"])
    assert torch.equal(torch.as_tensor(after["target"]), before["target"])
    assert after["image"].shape == before["image"].shape


@pytest.mark.parametrize(("axis", "name"), enumerate(["left-right", "back-front", "down-up"]))
def test_flips_only_the_axes_that_are_named(axis, name):
    change = appearance_change(AugmentationConfig(**OFF, flip_axes=[name]), axes=(0, 1, 2))
    before = item()["image"]
    seen = set()
    for seed in range(12):
        change.set_random_state(seed=seed)
        after = torch.as_tensor(change(item())["image"])
        seen.add("same" if torch.equal(after, before) else "flipped")
        assert torch.equal(after, before) or torch.equal(after, before.flip(1 + axis))
    assert seen == {"same", "flipped"}


def test_flip_axes_of_a_slice_are_those_of_the_patient():
    change = appearance_change(AugmentationConfig(**OFF, flip_axes=["down-up"]), axes=(0, 2))
    before = item(dims=2)["image"]
    for seed in range(8):
        change.set_random_state(seed=seed)
        after = torch.as_tensor(change(item(dims=2))["image"])
        assert torch.equal(after, before) or torch.equal(after, before.flip(2))


def test_zoom_above_one_shows_things_larger():
    config = AugmentationConfig(rotation_degrees=0.0, scale=[1.5, 1.5])
    target = torch.zeros(1, 24, 24, 24, dtype=torch.float32)
    target[0, 8:16, 8:16, 8:16] = 1
    change = spatial_change(config, (24, 24, 24))
    change.set_random_state(seed=0)
    after = change({"image": target.clone(), "target": target.clone()})["target"]
    assert float(after.sum()) == pytest.approx(1.5**3 * 8**3, rel=0.15)


def test_margin_covers_what_a_turned_patch_sees():
    ones = torch.ones(1, *margin(AugmentationConfig(rotation_degrees=30.0, scale=[0.7, 1.0]), (16, 20, 12)))
    config = AugmentationConfig(rotation_degrees=30.0, scale=[0.7, 1.0])
    change = spatial_change(config, (16, 20, 12))
    for seed in range(10):
        change.set_random_state(seed=seed)
        after = change({"image": ones.clone(), "target": ones.clone()})["target"]
        assert float((after > 0).float().mean()) > 0.99
