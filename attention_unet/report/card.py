"""Write a model card: what a model is for, what it learned from, how good it was, and what it lacks.

Its head is the one that the Hugging Face hub reads.
"""

import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from attention_unet.errors import ConfigError, times
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import parse_object
from attention_unet.files.prediction_record import read_record
from attention_unet.files.run_folder import HELD_OUT, PREDICTIONS, WEIGHTS
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model

log = logging.getLogger(__name__)

TO_WRITE = "*To be written.*"
TEXT = """\
# {name}

    attention-unet predict -i scans -o masks -m {run}

**Not a medical device**: for research, not for diagnosis or treatment.

## Intended use

Segments {classes} in MR volumes of {channels}. For whom, on which patients and scanners: {to_write}

## Data

{cases} Origin of the scans, age and sex of the persons, scanners, who drew the labels, consent, licence: {to_write}

| Label | Class |
|---|---|
{labels}

## Network

{dims}-D U-Net, {widths} channels, {parameters:.2f} million parameters. Attention: {attention}.
Windows of {patch} voxels of {spacing} mm. sha256 of weights and description: `{sha256}`.
Nothing in the file of weights, `{weights}`, is executed.

## Results

{results}

## Limits

- Scanners, protocols, ages and diseases that the training cases do not have were not tried.
- The results are those of cases of the same dataset.
- It returns a mask for every scan, also for one without these structures.

## Licence

{to_write}
"""


def write_card(run: str | Path, output: str | Path | None = None) -> Path:
    """Write the card of a model; ``attention-unet card`` does the same. What no file says is marked as to be written.

    Args:
        run: folder of a run.
        output: file to write; None: ``README.md`` in the folder.

    Returns:
        The file.

    Raises:
        ConfigError: if the file exists, or the model is not in a folder.
        DataError: if the results of the run are damaged, or the file cannot be written.
        ModelError: if there is no model.
    """
    run = Path(run)
    file = Path(output) if output else run / "README.md"
    if os.path.lexists(file):
        raise ConfigError(f"{file}: exists: name another file with -o, or remove it")
    model, summary = load_model(run), run / HELD_OUT / "summary.json"
    if not run.is_dir():
        raise ConfigError(f"{run}: not a folder: expected the folder of a run")
    dice, cautions = parse_object(summary, _results, "evaluate again") if summary.is_file() else ({}, [])
    predicted = read_record(run / HELD_OUT / PREDICTIONS)
    if dice and predicted and predicted.get("models_sha256") != [model.sha256]:
        log.warning("%s: is of an earlier state of this run: left out; report again", summary)
        dice = {}
    head = _head(run.resolve().name, {} if cautions else dice)  # a hub shows figures without their cautions
    write_text(file, f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{_text(run, model, dice, cautions)}")
    return file


def _results(plain: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return, from ``summary.json``, Dice of each class that occurs and the warnings about the cases.

    Dice are mean, 95 % interval and number of cases.
    """
    dice = {name: metrics["dice"] for name, metrics in plain["classes"].items()}
    of_classes = {
        name: {"mean": float(each["mean"]), "ci95": [*map(float, each["ci95"] or ())], "cases": int(each["n"])}
        for name, each in dice.items()
        if each["n"]
    }
    return of_classes, list(map(str, plain.get("warnings", [])))


def _head(name: str, dice: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the fields that the Hugging Face hub reads."""
    metrics = [{"type": "dice", "name": f"Dice, {each}", "value": round(of["mean"], 4)} for each, of in dice.items()]
    task = {"type": "image-segmentation"}
    data = {"type": "medical-mr", "name": "held-out cases of the training data"}
    index = [{"name": name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}] if metrics else []
    head = {"library_name": "attention_unet", "pipeline_tag": "image-segmentation", "license": "other"}
    tags = ["medical-imaging", "mri", "segmentation", "u-net", "attention"]
    return {**head, "tags": tags, "metrics": ["dice"], **({"model-index": index} if index else {})}


def _text(run: Path, model: Model, dice: dict[str, dict[str, Any]], cautions: Sequence[str]) -> str:
    """Return the text of a card."""
    plan, labels = model.plan, model.plan.labels
    rows = [
        f"| {_cell(name)} | {of['mean']:.4f} | {_interval(of['ci95'])} | {of['cases']} |" for name, of in dice.items()
    ]
    head = "Held-out cases of the training data:\n\n| Class | Dice | 95 % interval | Cases |\n|---|---|---|---|"
    taught = len(model.trained_on.images) if model.trained_on else 0
    return TEXT.format(
        name=run.resolve().name,
        run=shlex.quote(run.resolve().name),
        classes=", ".join(labels.names),
        channels=", ".join(plan.channels),
        cases=f"{taught} training cases, remembered as hashes." if taught else "The file names no training cases.",
        labels="\n".join(
            f"| {value} | {_cell(name)} |" for name, value in zip(labels.names, labels.painted, strict=True)
        ),
        dims=plan.architecture.dims,
        widths=", ".join(map(str, plan.architecture.channels)),
        parameters=sum(parameter.numel() for parameter in model.network.parameters()) / 1e6,
        attention=plan.architecture.describe_attention(),
        patch=times(plan.patch),
        spacing=times(plan.preprocessing.spacing_mm),
        sha256=model.sha256,
        weights=WEIGHTS,
        results="\n".join([head, *rows, *(f"\n**Warning:** {caution}." for caution in cautions)])
        if rows
        else f"Not evaluated: `attention-unet report {shlex.quote(run.resolve().name)}` scores held-out cases.",
        to_write=TO_WRITE,
    )


def _cell(name: str) -> str:
    """Return a name for a cell of a table."""
    return name.replace("|", "\\|")


def _interval(ends: Any) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "unknown"
