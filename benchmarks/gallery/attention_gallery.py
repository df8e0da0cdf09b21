"""Draw the pictures of docs/attention.md: ``python benchmarks/gallery/attention_gallery.py``; 15 minutes on one core.

For each mechanism, train a small 2-D network on slices of phantoms, with the mechanism on the skip of level 1. Then
draw its weights for one slice of a test phantom. Scales are fixed and stated: a map from 0.94 to 0.96 must not look
like a decision. The title of a panel states if its scale is stretched from the lowest to the highest weight.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from attention_panels import LEVEL, Look, draw
from rich.progress import track
from torch import Tensor

from attention_unet.attention import NAMES, Attended
from attention_unet.config import AttentionConfig, AugmentationConfig, Config, DataConfig, NetworkConfig, TrainingConfig
from attention_unet.dataset.cases import Case, find_cases
from attention_unet.dataset.phantom import make_cohort
from attention_unet.dataset.reading import read_case_label, read_channels
from attention_unet.inference.model_file import load_model
from attention_unet.pictures.mosaic import most_informative_plane
from attention_unet.preparation.preprocessing import preprocess, preprocess_target
from attention_unet.training.train import train


def look_at(run: Path, case: Case) -> Look:
    """Run a trained network on the most informative slice of a case; return input and output of its attention."""
    model = load_model(run, torch.device("cpu"))
    volume = read_channels(case)
    prepared = preprocess(volume, model.plan.preprocessing)
    target = preprocess_target(read_case_label(case, volume), model.plan.labels, prepared)[0].astype(np.float32)
    plane = most_informative_plane(target, 2)
    attention = model.network.attention_at(LEVEL)
    seen: list[tuple[tuple[Tensor, Tensor], Attended]] = []
    handle = attention.register_forward_hook(lambda _, inputs, result: seen.append((inputs, result)))
    with torch.inference_mode():
        for slice_ in (plane, 2):
            model.network(prepared.image[None, ..., slice_])
    handle.remove()
    (x, gate), result = seen[0]
    image = prepared.image[0, ..., plane].numpy()
    return Look(
        attention, x, gate, result, seen[1][1], image, target[..., plane], model.plan.preprocessing.spacing_mm[0]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=NAMES)
    parser.add_argument("--output", type=Path, default=Path("docs/attention"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        cohort = make_cohort(Path(folder), 24, 1, seed=0, done=lambda: None)
        scan = sorted((cohort / "imagesTs").iterdir())[0]
        case = Case(scan.name, (scan,), cohort / "labelsTs" / scan.name)
        for name in track(options.only, description="training and drawing"):
            config = Config(
                DataConfig(
                    root=str(find_cases(cohort).root), fold=-1, foreground_share=0.6, patch_voxels=5000, workers=0
                ),
                AugmentationConfig(flip_axes=["left-right"]),
                NetworkConfig(dims=2, base_channels=8, max_levels=4),
                AttentionConfig(skips=name, levels=[LEVEL]),
                TrainingConfig(steps=options.steps, batch=8, validations=1),
            )
            train(config, Path(folder) / "runs" / name)
            draw(look_at(Path(folder) / "runs" / name, case), name).savefig(options.output / f"{name}.png")


if __name__ == "__main__":
    main()
