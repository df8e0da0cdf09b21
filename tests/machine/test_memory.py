"""Freed memory is reused: a process counts the pages that it requests from the system."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from attention_unet.machine.memory import _limits, free_memory, machine_memory

FAULTS = """
import resource, torch
from attention_unet.machine.memory import reuse_freed_memory
def work():
    for _ in range(3):
        kept = [torch.ones(n) for n in (2_000_000, 12_000_000) for _ in range(8)]
        del kept
reuse_freed_memory(of_any_size=True)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_freed_memory_is_used_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # 80,000 if the system takes all memory back


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux reports it")
def test_peak_memory_counts_what_was_held_and_let_go():
    code = """
import torch
from attention_unet.machine.memory import peak_memory
before = peak_memory(torch.device("cpu"))
torch.ones(100 * 2**20)
print(peak_memory(torch.device("cpu")) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(400 * 2**20, rel=0.1)


def test_free_memory_is_some_of_the_machine():
    assert 0 < free_memory() <= machine_memory()


def test_the_limits_of_a_container_and_of_a_job_of_a_cluster_are_found(tmp_path):
    process, root = tmp_path / "cgroup", tmp_path / "groups"
    (root / "slurm" / "job").mkdir(parents=True)
    assert _limits(process, root) == []
    for group, limit, used in ((root, 900, 300), (root / "slurm", "max", 200), (root / "slurm" / "job", 500, 100)):
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.stat").write_text(f"anon {used - 40}\nfile 77\nshmem 40\n")
    process.write_text("4:memory:/other\n0::/slurm/job\n")
    assert _limits(process, root) == [(500, 100), (900, 300)]
    process.write_text("0::/\n")
    assert _limits(process, root) == [(900, 300)]
    job = tmp_path / "version 1" / "memory" / "slurm" / "job"
    job.mkdir(parents=True)
    (job / "memory.limit_in_bytes").write_text("700\n")
    (job / "memory.stat").write_text("rss 5\ntotal_rss 60\ntotal_cache 77\ntotal_shmem 40\n")
    process.write_text("9:cpu:/slurm\n4:memory:/slurm/job\n1:name=systemd:/a:b\n0::/\n")
    assert _limits(process, tmp_path / "version 1") == [(700, 100)]
