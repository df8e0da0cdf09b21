"""Parts as an array of SLURM, as docs/scaling.md shows. It needs a cluster, which may be one node, and its tools."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from attention_unet.files.prediction_record import read_record
from tests.inference.build import contents, facts, scan

JOB = """#!/bin/bash
#SBATCH --array=1-4 --cpus-per-task=1 --requeue --output=log-%a.txt --open-mode=append
export OMP_NUM_THREADS=1
echo $$ > process-$SLURM_ARRAY_TASK_ID
exec {python} -m attention_unet predict -i scans -o masks -m hippocampus --part "$SLURM_ARRAY_TASK_ID/4" --resume
"""


def call(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def answers():
    """Return whether there is a SLURM controller."""
    try:
        return bool(call("sinfo", "--noheader"))
    except (OSError, subprocess.CalledProcessError):
        return False


@pytest.mark.long
@pytest.mark.skipif(not answers(), reason="needs a SLURM cluster")
def test_an_array_of_which_tasks_are_killed_requeued_and_cancelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    for number in range(200):
        scan(tmp_path / "scans", np.eye(4), f"s{number}.nii.gz", seed=number, grid=(30, 31, 32))
    (tmp_path / "job.sh").write_text(JOB.format(python=sys.executable))
    job = call("sbatch", "--parsable", "job.sh")
    waiting = time.monotonic() + 120
    while not {1, 2} <= {number for number in (1, 2) if (tmp_path / f"process-{number}").exists()}:
        assert time.monotonic() < waiting
        time.sleep(0.1)
    while not read_record(tmp_path / "masks").get("cases"):
        assert time.monotonic() < waiting
        time.sleep(0.1)
    os.kill(int((tmp_path / "process-1").read_text()), signal.SIGKILL)
    call("scontrol", "requeue", f"{job}_2")
    call("scancel", f"{job}_3")
    again = call("sbatch", "--parsable", "--array=1,3", "job.sh")
    while call("squeue", "--noheader", "--jobs", f"{job},{again}"):
        assert time.monotonic() < waiting + 300
        time.sleep(1)
    assert read_record(tmp_path / "masks")["complete"] is True, "".join(p.read_text() for p in tmp_path.glob("log*"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    call(sys.executable, "-m", "attention_unet", "predict", "-i", "scans", "-o", "whole", "-m", "hippocampus")
    assert contents(tmp_path / "masks") == contents(tmp_path / "whole")
    assert facts(tmp_path / "masks") == facts(tmp_path / "whole")
