"""Train nnU-Net v2 for some minutes and predict: run by ``cohorts.py`` with the Python of nnU-Net's own environment.

Planning, preprocessing, network, patches, augmentation, loss and optimiser are nnU-Net's. Its learning rate falls over
the minutes instead of over 1000 epochs.
"""

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

CPU = torch.device("cpu")


def main() -> None:
    """Plan, train and predict; write seconds and plan into a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the dataset, Dataset001_...")
    parser.add_argument("--configuration", required=True, help="2d or 3d_fullres")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(multiprocessing.cpu_count())
    number = int(options.name[7:10])
    folder = Path(str(nnUNet_preprocessed)) / options.name
    began = time.monotonic()
    if not (folder / "nnUNetPlans.json").exists():
        extract_fingerprints([number], num_processes=2, check_dataset_integrity=True)
        plan_experiments([number])
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    if not (folder / plans["configurations"][options.configuration]["data_identifier"]).exists():
        preprocess([number], configurations=(options.configuration,), num_processes=(2,))
    raw = Path(str(nnUNet_raw)) / options.name
    split = json.loads((raw / "splits.json").read_text())[0]
    (folder / "splits_final.json").write_text(json.dumps([split]))
    description = json.loads((folder / "dataset.json").read_text())
    prepared = time.monotonic() - began

    trainer = nnUNetTrainer({**plans, "continue_training": False}, options.configuration, 0, description, CPU)
    trainer.on_train_start()
    began, steps = time.monotonic(), 0
    trainer.network.train()
    while (elapsed := time.monotonic() - began) < 60 * options.minutes:
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - elapsed / (60 * options.minutes)) ** 0.9
        trainer.train_step(next(trainer.dataloader_train))
        steps += 1
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        loader._finish()

    predictor = nnUNetPredictor(use_mirroring=False, perform_everything_on_device=False, device=CPU, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,), "checkpoint_final.pth")
    files = [sorted(map(str, (raw / "imagesTr").glob(f"{case}_0*.nii.gz"))) for case in split["val"]]
    options.output.mkdir(parents=True, exist_ok=True)
    outputs = [str(options.output / f"{case}.nii.gz") for case in split["val"]]
    began = time.monotonic()
    predictor.predict_from_files(
        files, outputs, num_processes_preprocessing=1, num_processes_segmentation_export=1, overwrite=True
    )
    facts = {
        "steps": steps,
        "patch": plans["configurations"][options.configuration]["patch_size"],
        "spacing_mm": plans["configurations"][options.configuration]["spacing"],
        "batch": plans["configurations"][options.configuration]["batch_size"],
        "prepare_seconds": prepared,
        "predict_seconds": time.monotonic() - began,
    }
    (options.output / "nnunet.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
