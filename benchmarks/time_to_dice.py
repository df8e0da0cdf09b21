"""Compare Dice over time: ``python benchmarks/time_to_dice.py --minutes 15``.

Our network, MONAI's AttentionUnet with its defaults (float32) and, if dynamic-network-architectures is installed, that
of nnU-Net (float32, its own width) learn the same hippocampus fold for the same minutes, one after another. Our loop
gives all the same patches, augmentation, loss, optimiser and validation. Only the network and its precision differ.
Each is trained several times with different seeds. The recipe was tuned on folds 0 and 1; the default is another fold.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import has_nnunet, monai_attention_unet, nnunet_plain
from publish import parse, publish, read_rows, table_of
from torch import Tensor, nn

from attention_unet.attention.channel.context_encoding import ContextEncoding
from attention_unet.cli import main as attention_unet
from attention_unet.network import Architecture, NetworkOutput, UNet
from attention_unet.preparation.plan import Plan
from attention_unet.training import train as training

CONFIG = Path(__file__).parents[1] / "configs" / "hippocampus.yaml"


class Guest(UNet):
    """Wrapper to train another network in our loop."""

    def __init__(self, network: nn.Module) -> None:
        nn.Module.__init__(self)
        self.network = network
        self.architecture = Architecture(skips="identity")

    def forward(self, x: Tensor, full_output: bool = False) -> Tensor | NetworkOutput:
        """Return the logits; with ``full_output``, those of every supervised level."""
        logits = self.network(x)
        levels = logits if isinstance(logits, list) else [logits]
        return NetworkOutput(levels, {}, []) if full_output else levels[0]

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return every weight once: modules of nnU-Net's network share parts."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def presence_encodings(self) -> list[tuple[int, ContextEncoding]]:
        """Return no encodings."""
        return []


def train_one(
    contender: str, data: str | None, fold: int, seed: int, minutes: float, validations: int, run: Path
) -> None:
    """Train one contender into a run folder."""
    if contender != "ours":

        def build(plan: Plan) -> UNet:
            channels, inputs, outputs = plan.architecture.channels, len(plan.channels), plan.labels.channels
            if contender == "monai":
                return Guest(monai_attention_unet(channels, inputs, outputs))
            return Guest(nnunet_plain([32 * 2**i for i in range(len(channels))], inputs, outputs))

        training.build_network = build  # type: ignore[assignment, attr-defined]
    settings = {
        "--data.cache": run.parent / "cache",
        "--data.fold": fold,
        "--training.minutes": minutes,
        "--training.validations": validations,
        "--training.seed": seed,
        "--training.precision": "auto" if contender == "ours" else "float32",
        **({"--data.root": data} if data else {}),
    }
    call = ["train", "--config", CONFIG, "--run", run, *(text for each in settings.items() for text in each)]
    if attention_unet([str(argument) for argument in call]):
        raise SystemExit(f"{contender}: the training failed")


def _cell(values: Sequence[float | None]) -> str:
    """Format mean, lowest and highest of several trainings."""
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.4f} ({min(known):.4f}-{max(known):.4f})" if known else "-"


def main() -> None:
    """Train all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--validations", type=int, default=5)
    parser.add_argument("--fold", type=int, default=3)
    parser.add_argument("--trainings", type=int, default=3, help="trainings per network, seeds 0, 1, 2 ...")
    parser.add_argument("--data", help="folder of datasets (default: $ATTENTION_UNET_DATA or data)")
    parser.add_argument("--train", nargs=2, metavar=("CONTENDER", "RUN"), help=argparse.SUPPRESS)
    options = parse(parser)
    if options.train:
        contender, run = options.train
        seed = int(Path(run).name)
        train_one(contender, options.data, options.fold, seed, options.minutes, options.validations, Path(run))
        return
    names = {"ours": "ours", "monai": "MONAI AttentionUnet, its defaults, float32"}
    if has_nnunet():
        names["nnunet"] = "nnU-Net's plain U-Net, float32"
    times = (f"{options.minutes * (i + 1) / options.validations:g} min" for i in range(options.validations))
    table = table_of("network", *times, "patches seen")
    with tempfile.TemporaryDirectory() as scratch:
        curves: dict[str, list[list[float | None]]] = {contender: [] for contender in names}
        patches: dict[str, list[int]] = {contender: [] for contender in names}
        for seed in range(options.trainings):  # in turns: other load affects all of them
            for contender in names:
                run = Path(scratch) / contender / str(seed)
                call = [sys.executable, __file__, "--train", contender, str(run)]
                call += ["--minutes", str(options.minutes), "--validations", str(options.validations)]
                call += ["--fold", str(options.fold), *(["--data", options.data] if options.data else [])]
                subprocess.run(call, check=True)
                rows = read_rows(run / "history.csv")
                parts = [round(float(row["minutes"]) / options.minutes * options.validations) for row in rows]
                dice = {min(n, options.validations): float(row["dice"]) for n, row in zip(parts, rows, strict=True)}
                curves[contender].append([dice.get(i + 1) for i in range(options.validations)])
                batch = json.loads((run / "plan.json").read_text())["batch"]
                patches[contender].append(int(rows[-1]["step"]) * batch)
    for contender, name in names.items():
        cells = [_cell(values) for values in zip(*curves[contender], strict=True)]
        table.add_row(name, *cells, f"{statistics.mean(patches[contender]):.0f}")
    notes = [
        f"Mean foreground Dice of the held-out cases of fold {options.fold}: mean of {options.trainings} trainings, "
        "lowest and highest."
    ]
    publish([table], notes, options.documents)


if __name__ == "__main__":
    main()
