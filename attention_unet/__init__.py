"""Attention U-Nets for MR volumes: train, predict, evaluate.

Public names are imported when they are first used, so that the command line answers at once.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if "OMP_WAIT_POLICY" not in os.environ:
    # How many times a thread of OpenMP checks for work before it sleeps; read when torch is imported. With the default,
    # a step takes several times as long if other programs use the processor, too.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

if TYPE_CHECKING:
    from attention_unet.attention import build as build_attention
    from attention_unet.config import Config
    from attention_unet.evaluation.evaluate import evaluate_folder
    from attention_unet.evaluation.metrics import compare_masks
    from attention_unet.inference.model_file import load_model
    from attention_unet.inference.predict_folder import predict_folder
    from attention_unet.inference.predict_volume import predict_volume
    from attention_unet.inference.settings import Settings
    from attention_unet.network import Architecture, AttentionUNet
    from attention_unet.scans.volumes import read_volume, write_like
    from attention_unet.training.cross_validation import cross_validate
    from attention_unet.training.train import train

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "AttentionUNet",
    "Config",
    "Settings",
    "build_attention",
    "compare_masks",
    "cross_validate",
    "evaluate_folder",
    "load_model",
    "predict_folder",
    "predict_volume",
    "read_volume",
    "train",
    "write_like",
]

_HOMES = {
    "Architecture": ("network", "Architecture"),
    "AttentionUNet": ("network", "AttentionUNet"),
    "Config": ("config", "Config"),
    "Settings": ("inference.settings", "Settings"),
    "build_attention": ("attention", "build"),
    "compare_masks": ("evaluation.metrics", "compare_masks"),
    "cross_validate": ("training.cross_validation", "cross_validate"),
    "evaluate_folder": ("evaluation.evaluate", "evaluate_folder"),
    "load_model": ("inference.model_file", "load_model"),
    "predict_folder": ("inference.predict_folder", "predict_folder"),
    "predict_volume": ("inference.predict_volume", "predict_volume"),
    "read_volume": ("scans.volumes", "read_volume"),
    "train": ("training.train", "train"),
    "write_like": ("scans.volumes", "write_like"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
