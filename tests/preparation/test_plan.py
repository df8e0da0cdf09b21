import dataclasses
import json

import numpy as np
import pytest

from attention_unet.config import AttentionConfig, Config, NetworkConfig
from attention_unet.network import AttentionUNet
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import make_plan
from attention_unet.scans.orientation import Stack
from tests.preparation.build import LAPTOP, cohort_of, dataset


def test_voxels_of_a_level():
    plan = make_plan(Config(), dataset(), cohort_of((256, 256, 10), (1.4, 1.4, 10)), LAPTOP)
    scan = np.diag([1.4, 1.4, 10.0, 1.0]), (256, 256, 10)
    assert plan.voxel_mm("skip 0", *scan) == pytest.approx((1.4, 1.4, 10))
    assert plan.voxel_mm("skip 2", *scan) == pytest.approx((5.6, 5.6, 10))
    other = np.diag([10.0, 0.7, 2.8, 1.0])[:, [1, 2, 0, 3]], (256, 10, 128)
    assert plan.voxel_mm("skip 2", *other) == pytest.approx((5.6, 10, 5.6))
    flat = make_plan(Config(network=NetworkConfig(dims=2)), dataset(), cohort_of((64, 10, 64), (1, 5, 1)), LAPTOP)
    assert flat.slice_axis == 1
    assert flat.voxel_mm("skip 1", np.diag([1.0, 5.0, 1.0, 1.0]), (64, 10, 64)) == (2, 5, 2)


def test_voxels_of_thick_slices_have_their_own_thickness():
    stacked = dataclasses.replace(cohort_of((256, 256, 10), (1.4, 1.4, 10)), stack=Stack.upright(2))
    plan = make_plan(Config(), dataset(), stacked, LAPTOP)
    assert plan.voxel_mm("skip 1", np.diag([1.4, 1.4, 6.0, 1.0]), (256, 256, 16)) == pytest.approx((2.8, 2.8, 6))


@pytest.mark.parametrize("dims", [2, 3])
def test_plan_builds_its_network_and_survives_json(dims):
    config = Config(network=NetworkConfig(dims=dims), attention=AttentionConfig(skips=["gate", "spatial"]))
    plan = make_plan(config, dataset(channels=2), cohort_of((80, 64, 20), (1, 1, 3)), LAPTOP)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    network = AttentionUNet(plan.architecture)
    assert network.architecture.in_channels == 2
    assert plan.slice_axis == (2 if dims == 2 else None)
    assert plan.patch[2] == 1 or dims == 3


def test_a_plan_of_very_thin_scans_can_be_read_again():
    plan = make_plan(Config(), dataset(), cohort_of((64, 64, 1), (1, 1, 0.01)), LAPTOP)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
