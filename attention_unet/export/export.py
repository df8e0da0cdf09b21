"""Export a model for other programs."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from attention_unet.dataset.reading import read_channels
from attention_unet.errors import ConfigError, DataError
from attention_unet.export.bundle import read_bundle, write_bundle
from attention_unet.export.check import compare_export
from attention_unet.export.program import Run, facts_path, read_onnx, read_program, write_onnx, write_program
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_models, versions
from attention_unet.machine.devices import choose_device
from attention_unet.scans.label_table import colour_of

log = logging.getLogger(__name__)

Form = Literal["bundle", "onnx", "pt2"]


class Format(NamedTuple):
    """Functions that write an export and read it again."""

    write: Callable[[Model, dict[str, Any], Path], None]
    read: Callable[[Path], Run]


FORMATS: dict[Form, Format] = {
    "bundle": Format(write_bundle, read_bundle),
    "onnx": Format(write_onnx, read_onnx),
    "pt2": Format(write_program, read_program),
}


def export_model(model: str | Path, to: Form, output: str | Path, check: str | Path | None = None) -> None:
    """Write the network of a model, with what its use needs, for other programs; ``attention-unet export`` does it.

    Args:
        model: as for ``load_model``.
        to: "bundle" of MONAI, "onnx", or "pt2" for ``torch.export.load``.
        output: file to write; of a bundle the folder.
        check: a scan, to predict with the export, too, and to log how far both agree.

    Raises:
        ConfigError: if the file or, of ONNX, its description exists, there is no scan to check, packages are missing,
            or the network has no such form.
        DataError: if the file cannot be written.
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
    FORMATS[to].write(loaded[0], describe_model(loaded[0]), file)
    log.info("%s holds the network, from preprocessed windows to probabilities: see docs/exporting.md", file)
    for case in scans:
        try:
            log.info("%s: %s", case.id, compare_export(loaded[0], FORMATS[to].read(file), read_channels(case)))
        except DataError as error:  # the other scans can still be compared
            log.warning("%s", error)


def describe_model(model: Model) -> dict[str, Any]:
    """Return what the use of an exported network needs, as plain values."""
    plan = model.plan
    return {
        "model_sha256": model.sha256,
        "plan": plan.to_json(),
        "labels": {
            str(value): {"name": name, "colour": colour_of(index)}
            for index, (name, value) in enumerate(zip(plan.labels.names, plan.labels.painted, strict=True))
        },
        "overlap": model.overlap,
        "versions": versions(),
    }
