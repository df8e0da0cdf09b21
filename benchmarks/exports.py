"""Try to export each mechanism: ``python benchmarks/exports.py --write``; needs onnx, onnxscript and onnxruntime.

Each is built in 3-D with random parameters, exported from features on one grid, and run on another grid. An export
counts only if its results equal those of the mechanism. ``--write`` writes the table into docs/attention_costs.md.
"""

import argparse
import warnings
from collections.abc import Callable

import torch
from publish import REPOSITORY, parse, publish
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from attention_unet.attention import NAMES, Attention, build
from attention_unet.network.blocks import FeaturesOf

CHANNELS, GRIDS = 16, ((8, 6, 10), (6, 10, 8))


def draw(grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return random features and a gating signal of half the grid."""
    return torch.randn(1, CHANNELS, *grid), torch.randn(1, 2 * CHANNELS, *(n // 2 for n in grid))


def export(module: nn.Module) -> Callable[..., Tensor]:
    """Return the exported module; the sizes of all axes of the grid are free."""
    return torch.export.export(module, draw(GRIDS[0]), dynamic_shapes=free_sizes()).module()


def export_fixed(module: nn.Module) -> Callable[..., Tensor]:
    """Return the module, exported for the sizes of the other grid."""
    return torch.export.export(module, draw(GRIDS[1])).module()


def to_onnx(module: nn.Module) -> Callable[..., Tensor]:
    """Return the module as ONNX, run by onnxruntime, with free sizes."""
    import onnxruntime

    program = torch.onnx.export(module, draw(GRIDS[0]), dynamic_shapes=free_sizes(), dynamo=True, verbose=False)
    if program is None:
        raise RuntimeError("nothing was exported")
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [each.name for each in session.get_inputs()]

    def run(x: Tensor, gate: Tensor) -> Tensor:
        # An input that is not used is left out, and one that is also the output is called x_orig.
        given = {name: (gate if name == "gate" else x).numpy() for name in names}
        return torch.from_numpy(session.run(None, given)[0])

    return run


def free_sizes() -> tuple[dict[int, object], dict[int, object]]:
    """Return free sizes of all axes of both grids."""
    free: dict[int, object] = dict.fromkeys((2, 3, 4), torch.export.Dim.AUTO)
    return free, free


WAYS: dict[str, Callable[[nn.Module], Callable[..., Tensor]]] = {
    "torch.export, one size": export_fixed,
    "torch.export, any size": export,
    "ONNX, any size": to_onnx,
}


def attempt(attention: Attention, way: Callable[[nn.Module], Callable[..., Tensor]]) -> str:
    """Return an empty text if an export computes what the mechanism does on another grid, otherwise why not."""
    inputs = draw(GRIDS[1])
    module = FeaturesOf(attention).eval()
    try:
        with torch.no_grad():
            difference = float((way(module)(*inputs) - module(*inputs)).abs().max())
    except Exception as error:  # whatever an exporter raises
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {lines[0] if lines else ''}"
    return "" if difference < 1e-4 else f"results differ by {difference:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=NAMES)
    options = parse(parser, REPOSITORY / "docs" / "attention_costs.md")
    warnings.simplefilter("ignore")
    table = Table("mechanism", *WAYS)
    for name in track(options.only, description="exporting"):
        torch.manual_seed(0)
        attention = build(name, dims=3, channels=CHANNELS, gate_channels=2 * CHANNELS)
        for parameter in attention.parameters():
            nn.init.normal_(parameter, std=0.3)
        failures = [attempt(attention, way) for way in WAYS.values()]
        for way, failure in zip(WAYS, failures, strict=True):
            if failure:
                print(f"{name}, {way}: {failure[:300]}")
        table.add_row(name, *("no" if failure else "yes" for failure in failures))
    publish([table], [], options.documents)


if __name__ == "__main__":
    main()
