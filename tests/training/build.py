"""Configurations of small trainings, and what they wrote."""

import dataclasses
import shlex

import nibabel as nib
import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from attention_unet.config import AttentionConfig, AugmentationConfig, Config, DataConfig, NetworkConfig, TrainingConfig
from tests.conftest import REPOSITORY

SMALL = {"folds": 4, "patch": [16, 16, 8], "spacing_mm": [3.0, 3.0, 4.0]}
OPTIONS = shlex.split("""
    --data.folds 4 --data.patch [24,24,12] --data.spacing_mm [3,3,4] --network.base_channels 4 --network.max_levels 3
    --training.steps 4 --training.validations 1 --training.precision float32 --augmentation.flip_axes [left-right]
""")  # of the command line


def config(cohort, *, steps=6, data=None, training=None, **sections):
    """Return a small configuration. All trainings on a cohort share the prepared cases."""
    cache = f"{cohort}-prepared" if cohort else None
    return Config(
        data=DataConfig(**{**SMALL, "root": str(cohort), "cache": cache, **(data or {})}),
        augmentation=AugmentationConfig(affine=0.5, noise=0.5, flip_axes=["left-right"]),
        network=sections.get("network", NetworkConfig(base_channels=4, max_levels=3)),
        attention=sections.get("attention", AttentionConfig()),
        training=TrainingConfig(steps=steps, validations=2, **(training or {})),
    )


def with_section(before, section, **fields):
    """Return a configuration with other values of a section."""
    return dataclasses.replace(before, **{section: dataclasses.replace(getattr(before, section), **fields)})


def weights(run):
    return load_file(run / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def rewrite(file, change):
    """Replace the voxels of a scan or label map by what a function makes of them."""
    image = nib.load(file)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj).copy()), image.affine, image.header), file)


def command(cohort, run, *more):
    file = run.parent / "config.yaml"
    chosen = dataclasses.asdict(config(cohort, training={"batch": 4, "precision": "float32"}))
    file.write_text(yaml.safe_dump(chosen))
    return [str(REPOSITORY / "train.py"), "--config", str(file), "--run", str(run), *more]
