"""Draw docs/synthetic-images.png: ``python benchmarks/synthetic_images.py --data DIR``

A patch of a hippocampus crop with its label map, and patches that ``augmentation.synthesize`` makes from it.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from publish import REPOSITORY

from attention_unet.config import AugmentationConfig, Config, DataConfig, TrainingConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.machine.devices import this_machine
from attention_unet.pictures.figures import save_figure
from attention_unet.preparation.cache import CaseCache
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.loading import load_patches
from attention_unet.preparation.patch_sampler import PatchSampler
from attention_unet.preparation.patches import PatchDataset, patch_numbers
from attention_unet.preparation.planning import make_plan

DATASET, IMAGES, PATCH = "Task04_Hippocampus", 6, [32, 48, 32]


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data", help="folder of the real datasets")
    options = parser.parse_args()
    dataset = find_dataset(DataConfig(root=str(options.data / DATASET)))
    config = Config(data=DataConfig(patch=PATCH), training=TrainingConfig(steps=1))
    plan = make_plan(config, dataset, take_fingerprint(dataset.cases, dataset.labels), this_machine(config.training))
    with tempfile.TemporaryDirectory() as folder:
        cache = CaseCache(Path(folder), plan.preprocessing, plan.labels, 1, with_regions=True)
        cache.add(dataset.cases[:1], lambda: None)
        cases = cache.open(dataset.cases[:1])
        panels = []
        for share, count in ((0.0, 1), (1.0, IMAGES)):
            augmentation = AugmentationConfig(synthesize=share, affine=0.0)
            patches = PatchDataset(PatchSampler(cases, plan.patch, 1.0, seed=0), plan, augmentation)
            batches = load_patches(patches, patch_numbers(0, 1, 0, 1), 0, torch.device("cpu"))
            panels += [next(batches) for _ in range(count)]
    figure, axes = plt.subplots(1, len(panels), figsize=(1.7 * len(panels), 2.7), layout="constrained")
    for number, (axis, batch) in enumerate(zip(axes, panels, strict=True)):
        image, target = (values[0, 0].numpy() for values in (batch.image, batch.target))
        across = int(np.argmax(np.count_nonzero(target, axis=(0, 1))))
        axis.imshow(image[:, :, across].T, cmap="gray", origin="lower")
        axis.contour(target[:, :, across].T, levels=[0.5, 1.5], colors=["tab:orange", "tab:cyan"], linewidths=0.8)
        axis.set_title("image" if number == 0 else f"drawn {number}", fontsize=9)
        axis.set_axis_off()
    save_figure(figure, REPOSITORY / "docs" / "synthetic-images.png")


if __name__ == "__main__":
    main()
