"""Compare training throughput: ``python benchmarks/throughput.py``.

Our network, as configurations build it, is compared with MONAI's AttentionUnet of the same channels, and with nnU-Net's
network at its own width if the package dynamic-network-architectures is installed. All train on the same random patches
with the same loss and fused AdamW. Each has its own process, and they take turns step by step, so that drifts of the
machine's speed affect all alike; ratios are computed turn by turn. A product of two large matrices in bfloat16, in the
same turns, measures the processor's peak rate.
"""

import argparse
import statistics
from dataclasses import dataclass
from functools import partial

import torch
from peers import has_nnunet, monai_attention_unet, nnunet_plain, training_step
from publish import median_and_range, parse, publish, table_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from turns import MATRIX, Start, Work, product, take_turns

from attention_unet.config import NetworkConfig
from attention_unet.machine.memory import reuse_freed_memory
from attention_unet.network import Architecture, AttentionUNet

CLASSES = 3
LEVELS = 4
NNUNET_CHANNELS = 32


@dataclass(frozen=True)
class Contender:
    """Network whose training step is measured."""

    name: str
    network: str  # "ours", "monai" or "nnunet"
    channels: int
    fast: bool  # in bfloat16
    peer: int  # index of the contender to compare with


def build_network(contender: Contender) -> nn.Module:
    """Return the network of a contender."""
    channels = [contender.channels * 2**i for i in range(LEVELS)]
    if contender.network == "ours":
        return AttentionUNet(Architecture(3, 1, CLASSES, channels, decoder_convs=NetworkConfig().decoder_convs))
    if contender.network == "monai":
        return monai_attention_unet(channels, 1, CLASSES)
    return nnunet_plain(channels, 1, CLASSES)


def start(contender: Contender, options: argparse.Namespace) -> tuple[int, Work]:
    """Return the operations of a training step, and the step."""
    reuse_freed_memory(of_any_size=True)  # as our training does; here for all
    network = build_network(contender)
    torch.manual_seed(0)  # same patches for all networks
    image = torch.randn(options.batch, 1, *options.patch)
    target = torch.randint(0, CLASSES, (options.batch, 1, *options.patch), dtype=torch.uint8)
    step = training_step(network, image, target, torch.bfloat16 if contender.fast else torch.float32)
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops(), step


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patch", type=int, nargs=3, default=[40, 56, 40])
    parser.add_argument("--base-channels", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parse(parser)
    contenders = [
        Contender("MONAI AttentionUnet, as it comes", "monai", options.base_channels, False, peer=0),
        Contender("MONAI AttentionUnet, bfloat16", "monai", options.base_channels, True, peer=0),
        Contender("ours, gate on skips", "ours", options.base_channels, True, peer=0),
    ]
    if has_nnunet():
        contenders += [
            Contender("nnU-Net's network, as on a CPU", "nnunet", NNUNET_CHANNELS, False, peer=3),
            Contender("nnU-Net's network, bfloat16", "nnunet", NNUNET_CHANNELS, True, peer=3),
            Contender("ours, gate on skips", "ours", NNUNET_CHANNELS, True, peer=3),
        ]
    starts: list[Start] = [product, *(partial(start, contender, options) for contender in contenders)]
    (full_operations, *operations), (full, *seconds) = take_turns(starts, options.threads, options.turns)

    table = table_of("network", "channels", "ms a patch", "lowest to highest", "times as fast", "of product's rate")
    best = full_operations / statistics.median(full)
    for contender, count, taken in zip(contenders, operations, seconds, strict=True):
        ratio = statistics.median(theirs / own for own, theirs in zip(taken, seconds[contender.peer], strict=True))
        share = statistics.median(
            count / own / (full_operations / at_most) for own, at_most in zip(taken, full, strict=True)
        )
        each = [1e3 * second / options.batch for second in taken]
        cells = (*median_and_range(each), f"{ratio:.2f}", f"{share:.0%}")
        table.add_row(contender.name, str(contender.channels), *cells)
    times = " x ".join(map(str, options.patch))
    notes = [
        f"Training steps of batch {options.batch} of {times}, {options.threads} threads; median, lowest and highest of "
        f"{options.turns} turns.",
        f"A product of matrices of {MATRIX} x {MATRIX} in bfloat16 runs at {best / 1e9:.0f} GFLOP/s.",
    ]
    if not has_nnunet():
        notes.append("nnU-Net's network: not measured; pip install dynamic-network-architectures.")
    publish([table], notes, options.documents)


if __name__ == "__main__":
    main()
