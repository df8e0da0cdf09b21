import logging

from attention_unet.machine import progress
from attention_unet.machine.progress import format_time, progress_bar


def test_without_a_terminal_a_line_tells_of_progress_now_and_then(monkeypatch, caplog):
    now = iter([0.0, 10.0, 31.0, 32.0, 70.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with caplog.at_level(logging.INFO), progress_bar("predicting", 4) as done:
        done()
        done()
        done(2.5)
        done(3)
    assert caplog.messages == ["predicting: 2 of 4, 31 s left", "predicting: 3 of 4, 23 s left"]


def test_time_in_words():
    times = (45, 59.6, 720, 3590, 7190, 12_000, float("inf"))
    assert ", ".join(map(format_time, times)) == "45 s, 1 min, 12 min, 1 h 0 min, 2 h 0 min, 3 h 20 min, ?"
