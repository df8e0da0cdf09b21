"""Estimate the cost of many volumes: ``python benchmarks/scaling.py --volumes 10000``

The heads of ``OASIS_Subcortical`` are inspected, preprocessed, trained on and predicted. The cost of many is computed
from the cost of one.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from publish import REPOSITORY, parse, publish, table_of

from attention_unet.config import Config, DataConfig, TrainingConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.inspection import inspect
from attention_unet.dataset.reading import read_channels
from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.machine.devices import choose_precision, make_fabric, this_machine
from attention_unet.machine.memory import reuse_freed_memory
from attention_unet.preparation.cache import CaseCache
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.loading import load_patches
from attention_unet.preparation.patch_sampler import PatchSampler
from attention_unet.preparation.patches import PatchDataset, patch_numbers
from attention_unet.preparation.planning import make_plan
from attention_unet.training.learner import Learner, build_network

STEPS = 20


def main() -> None:
    """Measure one volume and estimate many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=10_000)
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data", help="folder of the real datasets")
    options = parse(parser, REPOSITORY / "docs" / "scaling.md")
    reuse_freed_memory(of_any_size=True)  # as training does
    config = Config(training=TrainingConfig(minutes=60))
    with tempfile.TemporaryDirectory() as scratch:
        dataset = find_dataset(DataConfig(root=str(options.data / "OASIS_Subcortical")))
        cases = dataset.cases
        began = time.perf_counter()
        inspect(dataset, {}, {}, lambda: None)
        inspecting = (time.perf_counter() - began) / len(cases)

        plan = make_plan(config, dataset, take_fingerprint(cases, dataset.labels), this_machine(config.training))
        cache = CaseCache(Path(scratch) / "cache", plan.preprocessing, plan.labels, len(plan.channels))
        began = time.perf_counter()
        cache.add(cases, lambda: None)
        preparing = (time.perf_counter() - began) / len(cases)
        disk = sum(file.stat().st_size for file in cache.folder.rglob("*") if file.is_file()) / len(cases)

        fabric = make_fabric(config.training)
        learner = Learner(build_network(plan), config.training, fabric, plan.labels.overlapping)
        patches = PatchDataset(PatchSampler(cache.open(cases), plan.patch, 0.33, 0), plan, config.augmentation)
        batches = load_patches(patches, patch_numbers(0, plan.batch, 0, 1), 0, fabric.device)
        learner.learn(next(batches), 1e-4)
        began = time.perf_counter()
        for _ in range(STEPS):
            learner.learn(next(batches), 1e-4)
        training = (time.perf_counter() - began) / STEPS / plan.batch

        precision = choose_precision("auto", fabric.device)
        volume = read_channels(cases[0])
        began = time.perf_counter()
        predict_volume([Model(learner.averaged, plan, fabric.device)], volume, Settings(precision))
        predicting = time.perf_counter() - began

    table = table_of("", "one volume", f"{options.volumes:,} volumes")
    for name, seconds in (
        ("inspect", inspecting),
        ("prepare, once", preparing),
        (f"train on one patch of each, {' x '.join(map(str, plan.patch))}", training),
        ("predict", predicting),
    ):
        table.add_row(name, f"{seconds:.2f} s", f"{seconds * options.volumes / 3600:.1f} h")
    table.add_row("disk for prepared cases", f"{disk / 2**20:.0f} MiB", f"{disk * options.volumes / 2**30:.0f} GiB")
    grid = " x ".join(map(str, volume.grid))
    publish([table], [f"Volumes of {grid} voxels."], options.documents)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
