"""Model cards: the head is what the hub reads, the rest is what the run says."""

import json
import shutil

import pytest
import yaml

from attention_unet.cli import main
from attention_unet.errors import ConfigError, DataError, ModelError
from attention_unet.inference.model_file import load_model
from attention_unet.report.card import write_card


@pytest.fixture
def shared(run, tmp_path):
    """Return a folder with what is passed on of a run, and the results of two classes of three."""
    folder = tmp_path / "ventricles"
    (folder / "held-out").mkdir(parents=True)
    for name in ("model.safetensors", "model.json"):
        shutil.copy(run / name, folder)
    found = {"Ventricle": (0.91, [0.85, 0.97], 3), "Nucleus": (0.5, None, 2), "Lesion": (None, None, 0)}
    classes = {name: {"dice": dict(zip(("mean", "ci95", "n"), each, strict=True))} for name, each in found.items()}
    (folder / "held-out" / "summary.json").write_text(json.dumps({"classes": classes, "n_cases": 3}))
    return folder


def test_a_card_of_a_run(shared):
    assert main(["card", str(shared)]) == 0
    text = (shared / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    facts = yaml.safe_load(head)
    assert (facts["library_name"], facts["pipeline_tag"]) == ("attention_unet", "image-segmentation")
    (model,) = facts["model-index"]
    metrics = model["results"][0]["metrics"]
    assert [(each["name"], each["value"]) for each in metrics] == [("Dice, Ventricle", 0.91), ("Dice, Nucleus", 0.5)]
    assert "# ventricles" in body
    assert "| Ventricle | 0.9100 | 0.850 to 0.970 | 3 |" in body
    assert "| Nucleus | 0.5000 | unknown | 2 |" in body
    assert load_model(shared).sha256 in body
    assert body.count("*To be written.*") == 3
    with pytest.raises(ConfigError, match=r"README\.md: exists: name another file with -o, or remove it"):
        write_card(shared)


def test_a_card_repeats_the_warnings_of_its_scores_and_gives_a_hub_none(shared):
    summary = json.loads((shared / "held-out" / "summary.json").read_text())
    warning = "3 of 3 cases are training cases of the model, their scores are too good: a, b, c"
    (shared / "held-out" / "summary.json").write_text(json.dumps({**summary, "warnings": [warning]}))
    text = write_card(shared).read_text()
    assert f"\n\n**Warning:** {warning}.\n" in text
    assert "model-index" not in text
    assert "| Ventricle | 0.9100 | 0.850 to 0.970 | 3 |" in text


def test_a_card_without_results_says_how_to_get_them(shared, tmp_path, monkeypatch):
    shutil.rmtree(shared / "held-out")
    body = write_card(shared, tmp_path / "card.md").read_text()
    assert "model-index" not in body
    assert "Not evaluated: `attention-unet report ventricles` scores held-out cases." in body
    named = shared.rename(tmp_path / "rün 1")
    monkeypatch.chdir(named)
    assert "`attention-unet report 'rün 1'` scores" in write_card(".", tmp_path / "here.md").read_text()
    body = write_card(named, tmp_path / "b.md").read_text()
    assert "    attention-unet predict -i scans -o masks -m 'rün 1'\n" in body


def test_damaged_results_and_folders_without_a_model(shared, tmp_path):
    (shared / "held-out" / "summary.json").write_text("{}")
    with pytest.raises(DataError, match=r"summary\.json: lacks 'classes': evaluate again"):
        write_card(shared)
    classes = {"Ventricle": {"dice": {"mean": None, "ci95": None, "n": 3}}}
    (shared / "held-out" / "summary.json").write_text(json.dumps({"classes": classes}))
    with pytest.raises(DataError, match=r"summary\.json: .*evaluate again"):
        write_card(shared)
    with pytest.raises(ModelError):
        write_card(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="hippocampus: not a folder: expected the folder of a run"):
        write_card("hippocampus")
    assert not (shared / "README.md").exists()


def test_results_of_an_earlier_state_of_the_run_are_left_out(shared, caplog):
    (shared / "held-out" / "predictions").mkdir()
    record = shared / "held-out" / "predictions" / "run.json"
    record.write_text(json.dumps({"models_sha256": [load_model(shared).sha256], "cases": {}}))
    assert "0.9100" in write_card(shared, shared / "now.md").read_text()
    record.write_text(json.dumps({"models_sha256": ["0" * 64], "cases": {}}))
    assert "Not evaluated" in write_card(shared, shared / "later.md").read_text()
    assert "is of an earlier state of this run: left out; report again" in caplog.text
