import hashlib
import os
import pickle

import pytest
import torch

from attention_unet.errors import ModelError
from attention_unet.training.checkpoint import FORMAT, LearnerState, LoopState, TrainingState, load_state, save_state


def state():
    tensors = {"w": torch.randn(3, 4)}
    optimizer = {"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    learner = LearnerState(7, tensors, tensors, optimizer, torch.get_rng_state())
    return TrainingState(
        LoopState(1, 1.25, 0.1, 0.004), 3.5, 0.5, [{"step": 7.0, "dice": 0.5}], learner, {"plan": {"patch": [8]}}
    )


def test_round_trip(tmp_path):
    before = state()
    save_state(tmp_path / "last.pt", before)
    after = load_state(tmp_path / "last.pt")
    assert (after.learner.step, after.loop, after.elapsed) == (7, before.loop, 3.5)
    assert after.settings == {"plan": {"patch": [8]}}
    assert after.history == [{"step": 7.0, "dice": 0.5}]
    assert torch.equal(after.learner.network["w"], before.learner.network["w"])
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_shares_and_rates_follow_from_times():
    loop = LoopState(seconds=0.1, waited=0.004)
    assert (loop.patches_a_second, loop.waiting) == pytest.approx((10, 0.04))


def test_code_in_a_state_is_never_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    path = tmp_path / "last.pt"
    torch.save({"x": Malicious()}, path)
    zipped = path.read_bytes()
    for content in (zipped, pickle.dumps(Malicious())):
        sha256 = hashlib.sha256(content).hexdigest().encode()
        for whole in (
            content,
            b"attention_unet-state " + FORMAT + b" " + sha256 + b"\n" + content,
        ):  # with the right sha256
            path.write_bytes(whole)
            with pytest.raises(ModelError, match="damaged or not the state of a training"):
                load_state(path)
    assert not (tmp_path / "ran").exists()


def test_damaged_and_missing_states(tmp_path):
    with pytest.raises(ModelError, match="missing: the run stopped before it saved"):
        load_state(tmp_path / "last.pt")
    save_state(tmp_path / "last.pt", state())
    content = (tmp_path / "last.pt").read_bytes()
    for broken in (b"", content[:100], content[: len(content) // 2]):
        (tmp_path / "last.pt").write_bytes(broken)
        with pytest.raises(ModelError, match="damaged or not"):
            load_state(tmp_path / "last.pt")
    (tmp_path / "last.pt").write_bytes(content.replace(b"state %b " % FORMAT, b"state 0 "))
    with pytest.raises(ModelError, match=f"has format 0: expected {FORMAT.decode()}; resume with the version"):
        load_state(tmp_path / "last.pt")


def test_no_byte_of_a_state_changes_unnoticed(tmp_path):
    save_state(tmp_path / "last.pt", state())
    content = (tmp_path / "last.pt").read_bytes()
    for index in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[index] ^= 1 << (index % 8)
        (tmp_path / "last.pt").write_bytes(flipped)
        with pytest.raises(ModelError, match=r"damaged or not|has format"):
            load_state(tmp_path / "last.pt")
