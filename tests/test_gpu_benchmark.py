"""The benchmark for GPUs, on a CPU: it must run when somebody lends a card."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

SECTIONS = ["repeat", "memory", "small memory", "stop", "resume", "patches", "windows", "scans", "time to dice"]


@pytest.mark.long
def test_the_benchmark_for_gpus_runs(real_data):
    call = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--quick", "--data", str(real_data)]
    done = subprocess.run([*call, "--only", *SECTIONS], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "failed" not in done.stdout, done.stderr[-2000:]
    assert all(f"{section}: [" in done.stdout for section in SECTIONS)
