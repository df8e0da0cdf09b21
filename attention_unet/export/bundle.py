"""Export a model as a MONAI bundle, which needs MONAI only: configuration files, and the network as TorchScript."""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from attention_unet.export.program import SAME, Run, WindowNetwork, draw_window, quietly, refuse
from attention_unet.files.atomic import replacing
from attention_unet.files.json_file import write_json
from attention_unet.inference.model import Model

NETWORK, CONFIG, METADATA = "models/model.ts", "configs/inference.json", "configs/metadata.json"
# What read_volume, find_background and foreground_box do, for the configuration of MONAI.
LOWEST = "torch.tensor([float(c[torch.isfinite(c)].min()) for c in x]).reshape(-1, 1, 1, 1)"
ONLY_FINITE = f"$lambda x: torch.where(torch.isfinite(x), x, {LOWEST})"
FACES = "torch.cat([face.flatten() for face in (c[0], c[-1], c[:, 0], c[:, -1], c[:, :, 0], c[:, :, -1])])"
BRIGHTER, DARKER = "(c > f.median()).sum()", "(c < f.median()).sum()"
IS_BRIGHT = f"{BRIGHTER} >= 2 * {DARKER}"
FILLS = f"(c == f.median()).float().mean() >= 0.1 and 3 * {BRIGHTER} >= {DARKER}"
IS_COMMON = f"(f == f.median()).float().mean() > 0.5 and ({IS_BRIGHT} or {FILLS})"
BACKGROUND = f"f.median() if {IS_COMMON} else c.min()"
OUTSIDE = "(c > b) if (c > b).sum() >= 2 * (c < b).sum() else (c != b)"
ABOVE_BACKGROUND = (
    f"$lambda x: torch.stack([(lambda c, b: {OUTSIDE})(c, (lambda c, f: {BACKGROUND})(c, {FACES})) for c in x])"
)
CPU, CUDA_OR_CPU = "'cpu'", "'cuda' if torch.cuda.is_available() else 'cpu'"
LIBRARIES = ("monai", "torch", "numpy", "nibabel")


def write_bundle(model: Model, description: dict[str, Any], folder: Path) -> None:
    """Write a bundle. MONAI resamples and crops a little differently from ``predict``, so that masks differ a little.

    Raise ConfigError if the network cannot be traced, or thick slices of the training are never resampled; DataError if
    a file cannot be written.
    """
    if model.plan.preprocessing.stack is not None:
        raise refuse(model, "its thick slices are kept as they are, which MONAI's transforms cannot do")
    network = WindowNetwork(model).eval()
    given = draw_window(model, 1, model.plan.window)
    try:
        with torch.no_grad(), quietly():
            traced = torch.jit.trace(network, given, check_trace=False)  # type: ignore[no-untyped-call]
            torch.testing.assert_close(traced(0.5 * given), network(0.5 * given), atol=SAME, rtol=0)
    except Exception as error:  # whatever the tracer raises
        raise refuse(model, f"{type(error).__name__}: {error}") from error
    with replacing(folder / NETWORK) as partial:
        traced.save(str(partial))
    config = inference_config(model, bound_to_cpu='value="cpu"' in str(traced.inlined_graph))
    write_json(folder / CONFIG, config)
    write_json(folder / METADATA, metadata(model, description))


def read_bundle(folder: Path) -> Run:
    """Return the network of a bundle as a function of windows."""
    return torch.jit.load(folder / NETWORK)  # type: ignore[no-untyped-call]


def inference_config(model: Model, bound_to_cpu: bool) -> dict[str, Any]:
    """Return how MONAI predicts with the network: reading, preprocessing, windows, decision, writing.

    ``bound_to_cpu``: the trace holds tensors that it makes on the CPU, wherever its input is.
    """
    plan = model.plan
    window = {"roi_size": plan.window, "sw_batch_size": 1, "overlap": model.overlap, "mode": "gaussian"}
    inferer: dict[str, Any] = {"_target_": "SlidingWindowInferer", **window}
    if plan.slice_axis is not None:
        inferer = {"_target_": "SliceInferer", "spatial_dim": plan.slice_axis, **window}
    decide = [_transform("AsDiscreted", "pred", argmax=True)]
    if plan.labels.overlapping:
        decide = [_transform("AsDiscreted", "pred", threshold=0.5)]
    elif (values := [0, *plan.labels.painted]) != (indices := list(range(len(values)))):
        decide.append(_transform("MapLabelValued", "pred", orig_labels=indices, target_labels=values))
    prepare = [
        _transform("LoadImaged", "image"),
        _transform("EnsureChannelFirstd", "image"),
        _transform("Lambdad", "image", func=ONLY_FINITE),
        _transform("Orientationd", "image", axcodes="RAS", labels=None),
        _transform("Spacingd", "image", pixdim=list(plan.preprocessing.spacing_mm)),
        _transform("CropForegroundd", "image", source_key="image", select_fn=ABOVE_BACKGROUND),
        _transform("NormalizeIntensityd", "image", nonzero=plan.preprocessing.nonzero, channel_wise=True),
    ]
    invert = {"transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False, "to_tensor": True}
    save = {"output_dir": "@output_dir", "output_postfix": "", "separate_folder": False, "resample": False}
    finish = [
        _transform("Invertd", "pred", **invert),
        *decide,
        _transform("SaveImaged", "pred", output_dtype=f"$numpy.{plan.labels.dtype.__name__}", **save),
    ]
    return {
        "imports": ["$import glob", "$import numpy", "$import os", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz')))",
        "device": f"$torch.device({CPU if bound_to_cpu else CUDA_OR_CPU})",
        "network_def": {"_target_": "torch.jit.load", "f": f"$@bundle_root + '/{NETWORK}'", "map_location": "@device"},
        "network": "$@network_def.eval()",
        "preprocessing": {"_target_": "Compose", "transforms": prepare},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': file} for file in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {**inferer, "sigma_scale": 0.125},
        "postprocessing": {"_target_": "Compose", "transforms": finish},
        "handlers": [],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "evaluating": ["$@evaluator.run()"],
    }


def metadata(model: Model, description: dict[str, Any]) -> dict[str, Any]:
    """Return what MONAI and its servers need to know of the model."""
    plan = model.plan
    names = plan.labels.names if plan.labels.overlapping else ("background", *plan.labels.names)
    version = {name: importlib.metadata.version(name).partition("+")[0] for name in LIBRARIES}
    common = {"type": "image", "spatial_shape": plan.window, "dtype": "float32", "is_patch_data": True}
    image = {"format": "magnitude", "modality": "MR", "value_range": [], **_channels(plan.channels)}
    pred = {"format": "segmentation", "value_range": [0, 1], **_channels(names)}
    return {
        "version": "1.0.0",
        "monai_version": version["monai"],
        "pytorch_version": version["torch"],
        "numpy_version": version["numpy"],
        "required_packages_version": {"nibabel": version["nibabel"], "pytorch-ignite": "0.4.11"},
        "task": f"Segmentation of {', '.join(plan.labels.names)} in MR volumes",
        "description": f"Attention U-Net: {plan.architecture.describe_attention()}",
        "authors": "unknown",
        "copyright": "unknown",
        "network_data_format": {"inputs": {"image": common | image}, "outputs": {"pred": common | pred}},
        "attention_unet": description,
    }


def _transform(target: str, keys: str, **options: Any) -> dict[str, Any]:
    return {"_target_": target, "keys": keys, **options}


def _channels(names: Sequence[str]) -> dict[str, Any]:
    return {"num_channels": len(names), "channel_def": {str(index): name for index, name in enumerate(names)}}
