"""Export a model for other programs."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from attention_unet.dataset.reading import read_channels
from attention_unet.errors import ConfigError, DataError, first_few, times
from attention_unet.export.bundle import read_bundle, write_bundle
from attention_unet.export.program import Run, facts_path, read_onnx, read_program, write_onnx, write_program
from attention_unet.inference.components import cleaned_classes
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_models, versions
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import DEFAULT, Settings
from attention_unet.machine.devices import choose_device
from attention_unet.scans.label_table import colour_of
from attention_unet.scans.volumes import Volume

log = logging.getLogger(__name__)

Form = Literal["bundle", "onnx", "pt2"]
FORMATS: dict[Form, tuple[Callable[[Model, dict[str, Any], Path], None], Callable[[Path], Run]]] = {
    "bundle": (write_bundle, read_bundle),
    "onnx": (write_onnx, read_onnx),
    "pt2": (write_program, read_program),
}


class _Exported(nn.Module):
    """An exported network in the place of the network of a model."""

    def __init__(self, run: Run, overlapping: bool) -> None:
        super().__init__()
        self.run, self.overlapping = run, overlapping

    def forward(self, windows: Tensor) -> Tensor:
        """Return logits of windows."""
        found = torch.cat([self.run(window[None].contiguous()) for window in windows])
        return torch.logit(found) if self.overlapping else found.clamp(min=torch.finfo(found.dtype).tiny).log()


def export_model(model: str | Path, to: Form, output: str | Path, check: str | Path | None = None) -> None:
    """Write the network of a model, with what its use needs, for other programs; ``attention-unet export`` does it.

    Args:
        model: as for ``load_model``.
        to: "bundle" of MONAI, "onnx", or "pt2" for ``torch.export.load``.
        output: file to write; of a bundle the folder.
        check: a scan or a folder of scans, to predict with the export, too, and to log how far both agree.

    Raises:
        ConfigError: if the file or, of ONNX, its description exists, there is no scan to check, packages are missing,
            or the network has no such form.
        DataError: if the file cannot be written, or a scan cannot be compared; the others are compared first.
        ModelError: if there is no such model.
    """
    file = Path(output)
    for path in (file, *([facts_path(file)] if to == "onnx" else [])):
        if os.path.lexists(path):
            raise ConfigError(f"{path}: exists: name another file, or remove it")
    loaded = load_models([model], choose_device("cpu"))
    if len(loaded) > 1:
        raise ConfigError(f"{model}: stands for {len(loaded)} models: name one of them, such as {loaded[0].file}")
    plan = loaded[0].plan
    scans = [] if check is None else find_inputs(Path(check), len(plan.channels), plan.channels_may_miss)
    write, read = FORMATS[to]
    write(loaded[0], describe_model(loaded[0]), file)
    log.info("%s is written: docs/exporting.md says how to use it", file)
    if plan.region_mm:
        size = times(plan.region_mm, ".0f")
        log.warning("the locator is not exported: first crop scans around the structures, to about %s mm", size)
    if cleaned := cleaned_classes(loaded, DEFAULT):
        log.warning("predict drops small components of %s, the export does not", ", ".join(cleaned))
    if not scans:
        return
    run, failed = read(file), []
    for case in scans:
        try:
            log.info("%s: %s", case.id, compare_export(loaded[0], run, read_channels(case)))
        except DataError as error:  # the other scans can still be compared
            failed.append(str(error))
    if failed:
        raise DataError(f"not compared: {first_few(failed)}")


def compare_export(model: Model, run: Run, scan: Volume) -> str:
    """Predict a scan with a model and with its export, in single precision, and say how far both agree.

    The export predicts whole scans and keeps small components, as programs do that use it.
    """
    settings = Settings(precision=torch.float32, probabilities=True)
    exported = replace(model, network=_Exported(run, model.plan.labels.overlapping))  # type: ignore[arg-type]
    own = predict_volume([model], scan, settings)
    other = predict_volume([exported], scan, replace(settings, whole_scan=True, drop_small=()))
    difference = np.abs(np.asarray(own.probabilities) - np.asarray(other.probabilities)).max()
    same = 100 * np.mean(own.label_map == other.label_map)
    return f"largest difference of a probability {difference:.1e}; {same:.4f} % of labels are the same"


def describe_model(model: Model) -> dict[str, Any]:
    """Return what the use of an exported network needs, as plain values."""
    plan = model.plan
    return {
        "model_sha256": model.sha256,
        "plan": plan.to_json(),
        "labels": [  # a list: many readers of JSON sort the keys of an object
            {"integer": value, "name": name, "colour": colour_of(index)}
            for index, (name, value) in enumerate(zip(plan.labels.names, plan.labels.painted, strict=True))
        ],
        "overlap": model.overlap,
        "versions": versions(),
    }
