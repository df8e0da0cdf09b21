"""GPU benchmark: whole trainings and predictions, as users run them."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from gpu_checks import new_learner
from gpu_rows import plan_of, row, wait
from inference_sizes import write_noise
from publish import read_rows

from attention_unet.config import AugmentationConfig
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.settings import Settings
from attention_unet.inference.window_predictor import place_network
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.preparation.cache import CachedCase
from attention_unet.preparation.loading import Batch, load_patches
from attention_unet.preparation.patch_sampler import PatchSampler
from attention_unet.preparation.patches import PatchDataset, patch_numbers
from attention_unet.training.checkpoint import load_state

DATASET = "Task04_Hippocampus"


def _command(device: torch.device, data: Path, run: Path, *more: str) -> list[str]:
    call = [sys.executable, "-m", "attention_unet", "train", "--data.root", str(data), "--data.dataset", DATASET]
    return [*call, "--training.accelerator", device.type, "--run", str(run), "--data.cache", "/tmp/gpu-cache", *more]


def stop(device: torch.device, data: Path, quick: bool) -> None:
    """Send SIGTERM to all processes of a training. Its state must be saved, and the run must go on."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        call = _command(device, data, run, "--training.steps", "20000", "--data.workers", "4")
        process = subprocess.Popen(call, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while process.poll() is None and not (run / "train.log").exists():
            time.sleep(0.2)
        time.sleep(8)
        os.killpg(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        saved = (run / "last.pt").exists()
        step = load_state(run / "last.pt").learner.step if saved else 0
        ok = process.returncode == 143 and saved
        row("SIGTERM to the process group", f"exit code {process.returncode}, saved step {step}", "143, saved", ok)
        if not ok:
            print(out.decode()[-1500:], file=sys.stderr)


def resume(device: torch.device, data: Path, quick: bool) -> None:
    """Continue from a state: the same weights as without a break, as far as the device repeats its numbers."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    for skips in ("identity", "gate", "hard"):
        architecture = Architecture(out_channels=3, channels=(16, 32), skips=skips)
        whole, first, second = (new_learner(architecture, device) for _ in range(3))
        image = torch.randn(2, 1, 24, 24, 24, generator=torch.Generator().manual_seed(1)).to(device)
        batch = Batch(image, (image > 0.5).to(torch.uint8))
        for learner in (whole, first):
            torch.manual_seed(3)
            for _ in range(4):
                learner.learn(batch, 1e-3)
            state = learner.state()
            if learner is whole:
                for _ in range(4):
                    learner.learn(batch, 1e-3)
        second.restore(state)
        for _ in range(4):
            second.learn(batch, 1e-3)
        pairs = zip(whole.network.parameters(), second.network.parameters(), strict=True)
        different = sum(bool((p != q).any()) for p, q in pairs)
        row(f"resumed, {skips}", f"{different} tensors differ", "0", different == 0)


def patches(device: torch.device, data: Path, quick: bool) -> None:
    """Count the patches per second that reach the device, augmented."""
    edge = 24 if quick else 128
    random = torch.Generator().manual_seed(0)
    cases = []
    for i in range(2):
        image = torch.randn(1, *(edge + 32,) * 3, generator=random)
        target = (image > 1).to(torch.uint8)
        where = target[0].nonzero()[::50]
        locations = torch.cat([torch.zeros(len(where), 1, dtype=torch.long), where], dim=1).numpy()
        cases.append(CachedCase(str(i), image.numpy(), target.numpy(), locations))
    for patch, batch in (((40, 56, 40), 11), ((edge,) * 3, 2)):
        plan = plan_of(Architecture(out_channels=3), patch, batch)
        for workers in (0, 4, 8):
            dataset = PatchDataset(PatchSampler(cases, patch, 0.33, 0), plan, AugmentationConfig())
            batches = load_patches(dataset, patch_numbers(0, batch, 0, 1), workers, device)
            for _ in range(8):
                next(batches)
            wait(device)
            began, count = time.perf_counter(), 8 if quick else 24
            for _ in range(count):
                next(batches)
            wait(device)
            each = (time.perf_counter() - began) / count
            row(f"{batch} x {patch}, {workers} workers", f"{1e3 * each:.1f} ms a batch, {batch / each:.0f} patches/s")


def scans(device: torch.device, data: Path, quick: bool) -> None:
    """Predict noise from file to file."""
    torch.manual_seed(0)
    network = AttentionUNet(Architecture(out_channels=5, channels=(32, 64, 128, 256), decoder_convs=1)).eval()
    edge = 32 if quick else 96
    model = Model(place_network(network, device), plan_of(network.architecture, (edge,) * 3, 2), device)
    for size in (40, 48) if quick else (160, 160, 256, 512):
        with tempfile.TemporaryDirectory() as folder:
            write_noise(Path(folder) / "scan.nii.gz", size)
            began = time.perf_counter()
            cases = find_inputs(Path(folder) / "scan.nii.gz", channels=1)
            failed = predict_files(cases, Path(folder) / "out", [model], Settings(), lambda share: None)
            seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0
        row(f"{size}^3, file to file", f"{seconds:.1f} s, {peak:.1f} GiB on the card", "", False if failed else None)


def time_to_dice(device: torch.device, data: Path, quick: bool) -> None:
    """Train on hippocampus crops for 1.2 minutes."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        budget = ["--training.steps", "4"] if quick else ["--training.minutes", "1.2"]
        call = _command(device, data, run, *budget, "--training.validations", "1" if quick else "4")
        began = time.perf_counter()
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        row("whole command", f"{time.perf_counter() - began:.0f} s")
        for each in read_rows(run / "history.csv"):
            row(f"step {each['step']}", f"{float(each['minutes']):.2f} min, Dice {float(each['dice']):.4f}")
