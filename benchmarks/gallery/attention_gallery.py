"""Draw the pictures of docs/attention: ``python benchmarks/gallery/attention_gallery.py``; 40 minutes on one core.

For each mechanism, train a small 2-D network on the images of ``attention_task.py``, with the mechanism on the skips of
levels 1 and 2. Then draw what the mechanism on the skip of level 1 does to the same test image. Scales are fixed and
stated: a map from 0.94 to 0.96 must not look like a decision. "Stretched" scales go from the lowest to the highest
weight.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from attention_panels import LEVEL, Look, draw
from attention_task import dice_of_targets, make_image, train
from torch import Tensor

from attention_unet.attention import NAMES, Attended, Attention
from attention_unet.network import AttentionUNet

TEST_SEED = 3


def look_at(network: AttentionUNet) -> Look:
    """Run a trained network on the test image and on that with the other marker. Return what its attention did."""
    attention = network.get_submodule(f"decoder.{len(network.encoder) - 2 - LEVEL}.attention")
    if not isinstance(attention, Attention):
        raise TypeError(f"{attention} is not attention")
    seen: list[tuple[Tensor, Tensor, Attended]] = []
    handle = attention.register_forward_hook(lambda _, inputs, result: seen.append((*inputs[:2], result)))
    pictures = [make_image(np.random.default_rng(TEST_SEED), marker) for marker in (1, -1)]
    with torch.inference_mode():
        for image, _ in pictures:
            network(torch.tensor(image[None, None], dtype=torch.float32), full_output=True)
    handle.remove()
    x, gate, result = seen[0]
    return Look(attention, x, gate, result, seen[1][2], *pictures[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--only", nargs="*", default=NAMES)
    parser.add_argument("--output", type=Path, default=Path("docs/attention"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        network = train(name, options.steps)
        print(f"{name}: Dice of the targets {dice_of_targets(network):.3f}", flush=True)
        draw(look_at(network), name).savefig(options.output / f"{name}.png")


if __name__ == "__main__":
    main()
