import os
import signal

import pytest
import torch

from attention_unet.errors import DataError
from attention_unet.machine import processes
from attention_unet.machine.processes import run_all


@pytest.fixture
def at_once(monkeypatch):
    """Start processes after the first item."""
    monkeypatch.setattr(processes, "WORTH", 0.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def counter():
    calls = []
    return calls, lambda: calls.append(1)


def where(item):
    """Return an item with the process that worked on it and its threads."""
    return item, os.getpid(), torch.get_num_threads()


def end(item):
    """End the process of any item but the first."""
    if item:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_quick_work_stays_in_this_process():
    calls, done = counter()
    results = run_all(where, range(5), done)
    assert [item for item, _, _ in results] == [0, 1, 2, 3, 4]
    assert {process for _, process, _ in results} == {os.getpid()}
    assert len(calls) == 5


@pytest.mark.usefixtures("at_once")
def test_long_work_is_done_by_several_processes_in_order(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # of this process, not of those that it starts
    calls, done = counter()
    results = run_all(where, range(6), done)
    assert [item for item, _, _ in results] == [0, 1, 2, 3, 4, 5]
    assert results[0][1] == os.getpid()
    others = {process for _, process, _ in results[1:]}
    assert os.getpid() not in others
    assert 1 <= len(others) <= 2
    assert {threads for _, _, threads in results[1:]} == {1}
    assert len(calls) == 6


@pytest.mark.usefixtures("at_once")
def test_without_memory_for_a_second_process_work_stays_here(monkeypatch):
    monkeypatch.setattr(processes, "free_memory", lambda: 2**20)
    assert {process for _, process, _ in run_all(where, range(4), lambda: None)} == {os.getpid()}


@pytest.mark.usefixtures("at_once")
def test_a_killed_process_is_told():
    with pytest.raises(DataError, match="process was killed, perhaps because memory ran out"):
        run_all(end, range(4), lambda: None)
