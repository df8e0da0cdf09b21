"""Read and write study files."""

import difflib
import json
import logging
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from jsonargparse import ArgumentParser

from attention_unet.cli.call import build_parser, complete, explain_error, files_beside, load_fields
from attention_unet.config import Config
from attention_unet.errors import ConfigError
from attention_unet.study.hypothesis import Hypothesis

if TYPE_CHECKING:
    from attention_unet.study.design import Study

log = logging.getLogger("attention_unet")

NEW = """\
question: {question}
config: {config}
arms:
  none: {{attention.skips: identity}}
  gate: {{attention.skips: gate}}
  gate-displaced: {{attention.skips: {{displaced: gate}}}}  # the same cost, but no attention
settings: {{training.steps: 2000, training.validations: 4}}
seeds: [0]
margin: 0.005  # gain of mean Dice that would matter
hypotheses:
  - {{arm: gate, against: none, expect: equivalent}}
  - {{arm: gate, against: gate-displaced, expect: better}}
"""


@dataclass
class StudyFile:
    """The fields of a study file."""

    question: str  # what is asked, in words
    config: str  # configuration of all trainings, relative to the study file
    arms: dict[str, dict[str, Any]]  # for each arm, the fields that differ, such as {attention.skips: gate}
    hypotheses: list[Hypothesis]  # claims that are tested
    settings: dict[str, Any] = field(default_factory=dict)  # fields that differ from the configuration in all arms
    # Seeds of all arms, or by arm with "default" for the others.
    seeds: list[int] | dict[str, list[int]] = field(default_factory=lambda: [0])
    folds: list[int] | None = None  # folds to hold out; default: all
    # Numbers of persons to train on, or "all".
    persons: list[int | Literal["all"]] = field(default_factory=lambda: ["all"])
    margin: float = 0.005  # gain of mean Dice below which arms count as equivalent


def write_new(file: Path, dataset: str) -> None:
    """Write a study file for a dataset, and the configuration that it names.

    Raise ConfigError if there is no such dataset, or one of the files exists.
    """
    from attention_unet.dataset.cases import data_root, locate_dataset
    from attention_unet.files.atomic import write_text

    root = Path(dataset) if Path(dataset).is_dir() else data_root(None) / dataset
    if not root.is_dir():
        raise ConfigError(f"{dataset}: no dataset here, nor in {data_root(None)}: expected the folder of a dataset")
    config = file.with_name(f"{file.stem}-config.yaml")
    if existing := [each for each in (file, config) if each.exists()]:
        raise ConfigError(f"{existing[0]}: exists: remove it, or choose another name")
    root = locate_dataset(str(root.resolve()), "")
    write_text(config, yaml.safe_dump({"data": {"root": str(root.parent), "dataset": root.name}}))
    write_text(file, NEW.format(question=quoted(f"Does attention help on {root.name}?"), config=quoted(config.name)))
    log.info("%s and %s are written: change them before the first training", file, config)


def quoted(text: str) -> str:
    """Return a text in quotes for a YAML file."""
    return json.dumps(text, ensure_ascii=False)


def read_study(file: Path) -> "Study":
    """Return the study of a file. Raise ConfigError if the file cannot be read, or a field is wrong."""
    from attention_unet.study.design import Study

    given = load_fields(file)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(StudyFile, "study")
    claims = given.get("hypotheses")
    if isinstance(claims, list) and (wrong := [claim for claim in claims if not isinstance(claim, dict)]):
        raise ConfigError(f"{file}: hypotheses: one is {wrong[0]}: expected fields such as arm, against and expect")
    known = [each.name for each in fields(StudyFile)]
    if wrong := [name for name in given if name not in known]:
        nearest = difflib.get_close_matches(str(wrong[0]), known, n=1)
        advice = f"did you mean {nearest[0]}?" if nearest else f"expected some of {', '.join(known)}"
        raise ConfigError(f"{file}: {wrong[0]}: no field of a study: {advice}")
    try:
        values = {name: value for name, value in given.items() if value is not None}
        found: StudyFile = parser.instantiate(parser.parse_object({"study": values})).study
    except Exception as error:  # jsonargparse raises several kinds
        raise ConfigError(f"{file}: {_in_words(explain_error(error, {'': parser}))}") from error
    seeds = found.seeds if isinstance(found.seeds, dict) else {"default": found.seeds}
    for field_name, names in (("arms", found.arms), ("seeds", seeds)):
        if numbers := [name for name in names if not isinstance(name, str)]:
            raise ConfigError(f"{file}: {field_name}: {numbers[0]}: expected a name: put it in quotes")
    parsers = build_parser()
    arms = {name: _configure(file, found, name, *parsers) for name in found.arms}
    if not arms:
        raise ConfigError(f"{file}: arms: is empty: expected at least two")
    if unknown := set(seeds) - set(arms) - {"default"}:
        raise ConfigError(f"{file}: seeds: {', '.join(sorted(unknown))}: no such arm")
    if missing := [name for name in arms if name not in seeds and "default" not in seeds]:
        raise ConfigError(f"{file}: seeds: {', '.join(missing)}: no seeds: name the arm, or default")
    first = next(iter(arms.values()))
    try:
        return Study(
            question=found.question,
            arms=arms,
            seeds={name: seeds.get(name, seeds.get("default", [])) for name in arms},
            folds=list(range(first.data.folds)) if found.folds is None else found.folds,
            persons=[None if number == "all" else number for number in found.persons],
            margin=found.margin,
            hypotheses=found.hypotheses,
        )
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def _in_words(message: str) -> str:
    """Return a message of the parser about a field of the file, without the parser's own names."""
    message = re.sub(r'Parser key "([\w.]+)": ', r"\1: ", message.replace("study.", ""))
    message = re.sub(r"Problem with given class_path '.+?': ", "", message)
    return re.sub(r"the following arguments are required: (.*)", r"\1: missing", message.replace("--", ""))


def _configure(
    file: Path, found: StudyFile, arm: str, parser: ArgumentParser, subparsers: dict[str, ArgumentParser]
) -> Config:
    """Return the configuration of an arm: that of the file it names, with the settings of the study and of the arm."""
    changes = found.settings | found.arms[arm]
    known = {action.dest for action in subparsers["train"]._actions if "." in action.dest}
    if unknown := [name for name in changes if name not in known]:
        text = f"key '{unknown[0]}' is no field of a configuration"
        raise ConfigError(f"{file}: {arm}: {explain_error(ConfigError(text), subparsers)}")
    arguments = ["train", "--config", str(file.parent / found.config)]
    try:
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in changes.items()}
        texts |= {name: str(path) for name, path in files_beside(file, changes).items()}
        arguments += [f"--{name}={text}" for name, text in texts.items()]
        fields = subparsers["train"].instantiate(parser.parse_args(complete(arguments)).train)
        return Config(fields.data, fields.augmentation, fields.network, fields.attention, fields.training)
    except ConfigError as error:
        raise ConfigError(f"{file}: {arm}: {error}") from error
    except Exception as error:  # of jsonargparse or json, all about the fields
        raise ConfigError(f"{file}: {arm}: {explain_error(error, subparsers)}") from error
