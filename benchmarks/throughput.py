"""Training throughput beside MONAI's AttentionUnet: ``python benchmarks/throughput.py``.

Both networks have the same channels and see the same random patches with the same loss and optimiser. They take turns,
step by step, so that a machine whose speed drifts treats both alike; ratios are formed pair by pair.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from monai.networks.nets import AttentionUnet
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.optim import AdamW

from attention_unet.devices import precision_of
from attention_unet.network import AttentionUNet
from attention_unet.training.losses import SegmentationLoss

CLASSES = 3


def stepper(network: nn.Module, patch: tuple[int, ...], batch: int, precision: torch.dtype) -> Callable[[], float]:
    """A function that takes one training step and gives its seconds."""
    optimizer, loss_of = AdamW(network.parameters(), lr=1e-3), SegmentationLoss(overlapping=False)
    image = torch.randn(batch, 1, *patch)
    target = torch.randint(0, CLASSES, (batch, 1, *patch), dtype=torch.uint8)

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            logits = network(image)
        loss_of(logits, target).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return time.perf_counter() - began

    return step


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patch", type=int, nargs=3, default=[40, 56, 40])
    parser.add_argument("--base-channels", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    patch, channels = tuple(options.patch), [options.base_channels * 2**i for i in range(4)]
    fast = precision_of("auto", torch.device("cpu"))
    monai = AttentionUnet(3, 1, CLASSES, channels, (2, 2, 2))
    contenders = {
        "MONAI AttentionUnet, as it comes (float32)": stepper(monai, patch, options.batch, torch.float32),
        f"MONAI AttentionUnet, {str(fast)[6:]}": stepper(monai, patch, options.batch, fast),
        f"ours, gate on skips, {str(fast)[6:]}": stepper(
            AttentionUNet(3, 1, CLASSES, channels), patch, options.batch, fast
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.steps + 2):
        for name, step in contenders.items():
            taken = step() / options.batch
            if turn >= 2:  # the first steps allocate and choose kernels
                seconds[name].append(taken)

    table = Table(title=f"training step, patch {patch}, base channels {channels[0]}, {options.threads} threads")
    for heading in ("network", "ms a patch", "fastest to slowest", "of MONAI's time"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    first = next(iter(seconds.values()))
    for name, taken in seconds.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(taken, first, strict=True))
        spread = f"{1e3 * min(taken):.0f} to {1e3 * max(taken):.0f}"
        table.add_row(name, f"{1e3 * statistics.median(taken):.0f}", spread, f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
