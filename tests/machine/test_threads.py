"""The number of threads follows the time of steps."""

import pytest
import torch

from attention_unet.machine.threads import ThreadChooser


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Give torch eight threads, and return what was set."""
    used = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: used[-1])
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    return used


def run(chooser, threads, seconds_of, steps):
    """Run steps whose time depends on the number of threads. Return the total time."""
    total = 0.0
    for _ in range(steps):
        seconds = seconds_of(threads[-1])
        chooser.record(seconds)
        total += seconds
    return total


def idle(count):
    return 0.2 + 1.6 / count


def busy(count):
    """Two of eight cores are taken: threads wait for each other."""
    return 10.0 if count > 6 else idle(count)


def beside_another(count):
    """As ``busy``, but waiting threads sleep soon."""
    return 2.0 if count > 6 else idle(count)


def test_an_idle_machine_uses_all_threads(threads):
    total = run(ThreadChooser(fixed=False), threads, idle, 1000)
    assert threads[-1] == 8
    assert total < 1.01 * 1000 * idle(8)


def test_a_busy_machine_uses_fewer_and_later_all_again(threads):
    chooser = ThreadChooser(fixed=False)
    assert run(chooser, threads, busy, 300) < 2 * 300 * idle(8)
    assert threads[-1] == 4
    run(chooser, threads, idle, 500)
    assert threads[-1] == 8
    run(chooser, threads, busy, 20)
    assert threads[-1] == 4


def test_other_programs_cost_little_when_they_run_for_seconds_or_stop_late(threads):
    chooser, total = ThreadChooser(fixed=False), 0.0
    for _ in range(20):
        total += run(chooser, threads, beside_another, 10) + run(chooser, threads, idle, 190)
    assert total < 1.1 * 20 * (10 * idle(4) + 190 * idle(8))
    run(chooser, threads, beside_another, 3000)
    run(chooser, threads, idle, 170)
    assert threads[-1] == 8


def test_one_slow_step_changes_nothing(threads):
    chooser = ThreadChooser(fixed=False)
    run(chooser, threads, idle, 20)
    before = len(threads)
    chooser.record(30.0)
    run(chooser, threads, idle, 20)
    assert len(threads) == before


def test_a_budget_in_steps_keeps_its_threads_and_says_so(threads, caplog):
    chooser = ThreadChooser(fixed=True)
    run(chooser, threads, idle, 50)
    assert not caplog.text
    run(chooser, threads, busy, 200)
    assert threads == [8]
    assert caplog.text.count("steps take 25 times as long as before") == 1
    assert "smaller OMP_NUM_THREADS" in caplog.text


def test_one_thread_cannot_be_fewer(monkeypatch, caplog):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    chooser = ThreadChooser(fixed=True)
    for seconds in (1.0,) * 50 + (25.0,) * 200:
        chooser.record(seconds)
    assert "steps take 25 times as long as before" in caplog.text
    assert "OMP_NUM_THREADS" not in caplog.text
