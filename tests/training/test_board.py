import socket
from unittest import mock

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attention_unet.training.board import Board


def test_what_is_shown_can_be_read_and_names_no_machine(tmp_path):
    board = Board(tmp_path / "board", 1)
    board.write_scalars({"loss": 0.5}, 3)
    board.close()
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.5)]
    (file,) = (tmp_path / "board").iterdir()
    assert file.name.startswith("events.out.tfevents.")
    assert socket.gethostname() not in file.name


def test_a_disk_that_fills_up_is_told_once(tmp_path, caplog, monkeypatch):
    board = Board(tmp_path / "board", 1)
    monkeypatch.setattr(board._writer, "add_scalar", mock.Mock(side_effect=OSError(28, "No space left on device")))
    for step in range(3):
        board.write_scalars({"loss": 0.5}, step)
    assert caplog.text.count("No space left on device") == 1
