"""Whether freed memory is used again, seen in a process of its own by the pages it must ask the system for."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from attention_unet.memory import reuse_freed_memory
if sys.argv[1] == "reuse":
    reuse_freed_memory()
def work():
    for _ in range(3):
        kept = [torch.ones(2_000_000) for _ in range(40)]
        del kept
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_freed_memory_is_used_again():
    assert faults("plain") > 1000
    assert faults("reuse") < 100
