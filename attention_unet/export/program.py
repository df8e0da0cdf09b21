"""Export the network of a model as a program of torch, and as ONNX."""

import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from attention_unet.attention.pairwise.scaled_dot_product import PairwiseAttention
from attention_unet.errors import ConfigError
from attention_unet.files.atomic import replacing
from attention_unet.files.json_file import write_json
from attention_unet.inference.model import Model

Run = Callable[[Tensor], Tensor]
Sizes = dict[str, list[int]]
SAME = 1e-3  # largest difference of a probability, on noise
DESCRIPTION = "model.json"  # in a program of torch


class WindowNetwork(nn.Module):
    """The part of a model on the CPU that an export computes: its network, with softmax or sigmoid at the end."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network
        self.overlapping = model.plan.labels.overlapping

    def forward(self, window: Tensor) -> Tensor:
        """Return probabilities (B, K, *S) of windows (B, C, *S): of background and classes, or of overlapping classes.

        *S has the axes that the network sees: a 2-D network sees slices.
        """
        logits = self.network(window)
        return torch.sigmoid(logits) if self.overlapping else torch.softmax(logits, dim=1)


def draw_window(model: Model, batch: int, sizes: Sequence[int]) -> Tensor:
    """Return windows of noise."""
    return torch.randn(batch, len(model.plan.channels), *sizes, generator=torch.Generator().manual_seed(0))


def write_program(model: Model, description: dict[str, Any], file: Path) -> None:
    """Write a program for ``torch.export.load``, with the description as an extra file.

    Raise ConfigError if the network has no such form, DataError if the file cannot be written.
    """
    program, sizes = _export(model, _run_program)
    texts = {DESCRIPTION: json.dumps({**description, "sizes": sizes}, indent=2)}
    with replacing(file) as partial, partial.open("wb") as opened, quietly():
        torch.export.save(program, opened, extra_files=texts)


def read_program(file: Path) -> Run:
    """Return the program of a file as a function of windows."""
    return _run_program(torch.export.load(file))


def _run_program(program: ExportedProgram) -> Run:
    module = program.module()
    return lambda window: module(window)  # not the module itself, which refuses train() of a module that holds it


def write_onnx(model: Model, description: dict[str, Any], file: Path) -> None:
    """Write ONNX, with the description in its metadata, and in a file beside it for programs that cannot read these.

    Input "window", output "probabilities". It is checked with onnxruntime before it is written. Raise ConfigError if
    the network has no such form, or packages are missing; DataError if the file cannot be written.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise ConfigError(f"ONNX needs {name}, which is not installed: pip install 'attention-unet[onnx]'")
    proto: Any = None

    def convert(program: ExportedProgram) -> Run:
        nonlocal proto
        converted = torch.onnx.export(
            program, input_names=["window"], output_names=["probabilities"], external_data=False, verbose=False
        )
        if converted is None:
            raise RuntimeError("the exporter returned nothing")
        proto = converted.model_proto
        return _run_onnx(proto.SerializeToString())

    _, sizes = _export(model, convert)
    facts = {**description, "sizes": sizes}
    for name, value in facts.items():
        proto.metadata_props.add(key=name, value=value if isinstance(value, str) else json.dumps(value))
    with replacing(file) as partial:
        partial.write_bytes(proto.SerializeToString())
        write_json(facts_path(file), facts)


def facts_path(file: Path) -> Path:
    """Return the path of the description beside ONNX."""
    return file.with_name(f"{file.name}.json")


def read_onnx(file: Path) -> Run:
    """Return the ONNX of a file as a function of windows."""
    return _run_onnx(str(file))


def _run_onnx(source: bytes | str) -> Run:
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a first try may fail, and is followed by another
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    def run(window: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"window": window.numpy()})[0])

    return run


def _export(model: Model, convert: Callable[[ExportedProgram], Run]) -> tuple[ExportedProgram, Sizes]:
    """Export for windows of any size that the strides divide, otherwise for those of the model.

    An export counts only if it computes what the network does; where sizes are free, on windows of another size.
    Attention that averages keys on large grids gets one size: an export decides for all sizes at once.

    Returns:
        The program, and "multiple_of" or "exactly" with voxels along each axis of its windows.
    """
    network, axes = WindowNetwork(model).eval(), range(2, 2 + model.plan.architecture.dims)
    windows = model.plan.window
    strides = [math.prod(of_axis) for of_axis in zip(*model.plan.architecture.steps, strict=True)]
    larger = [n + step for n, step in zip(windows, strides, strict=True)]
    window = draw_window(model, 1, windows)
    ways = [("exactly", windows, window, 0.5 * window)]
    if not any(isinstance(module, PairwiseAttention) for module in network.modules()):
        ways.insert(0, ("multiple_of", strides, draw_window(model, 2, windows), draw_window(model, 1, larger)))
    for word, sizes, given, tried in ways:
        free = dict.fromkeys((0, *axes), Dim.AUTO) if word == "multiple_of" else None
        try:
            with torch.no_grad(), quietly():
                program = torch.export.export(network, (given,), dynamic_shapes=free and (free,))
                torch.testing.assert_close(convert(program)(tried), network(tried), atol=SAME, rtol=0)
            return program, {word: sizes}
        except Exception as error:  # whatever an exporter raises
            cause: BaseException = error
            while cause.__cause__:  # the last one says what is missing
                cause = cause.__cause__
            lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
            reason = f"{type(cause).__name__}: {lines[0] if lines else ''}"
    raise refuse(model, reason)


def refuse(model: Model, reason: str) -> ConfigError:
    """Return the error for a network that has no form in a format."""
    attention = model.plan.architecture.describe_attention()
    return ConfigError(f"this network cannot be exported ({reason[:200]}); its attention is: {attention}")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep warnings of the exporters from the screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
