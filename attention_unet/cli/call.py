"""The arguments of a call: their parser, what completes them, and what is wrong with them.

Heavy imports have no place here: ``--help`` reads this file.
"""

import difflib
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_loader

from attention_unet import __version__
from attention_unet.cli import options
from attention_unet.errors import ConfigError
from attention_unet.files.run_folder import CONFIG, read_paths
from attention_unet.files.strict_yaml import load_strictly

STRICT_YAML = "strict yaml"
BUDGETS = ("minutes", "steps")
START = "training.start_from"
FILES = {"data.subjects", "data.splits", START}  # fields that name a file; relative to the file that has them
WRONG_TYPE = re.compile(
    r'Parser key "(?P<name>.+?)": '
    r".*?(?:Subtypes: \[(?P<union>.+)\] E|Expected an? (?P<one>.+?)\. ).* value: (?P<value>.*)"
)
WORDS = {  # of types
    "<class 'NoneType'>": "null",
    "<class 'dict'>": "fields by name",
    "<class 'str'>": "a text",
    "<class 'bool'>": "true or false",
    "<class 'float'>": "a number",
    "<class 'int'>": "a whole number",
    "<class 'list'>": "a list",
    "dict[str, list[int]]": "such a list by name",
    "list[float]": "a list of numbers",
    "list[int]": "a list of whole numbers",
    "list[str]": "a list of texts",
    "typing.Literal[": "",
    "]": "",
    ", ": " or ",
}


@cache
def build_parser() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """Return the parser, and the parsers of its subcommands by name."""
    from attention_unet.cli.commands import COMMANDS  # here, because it imports this file

    set_loader(STRICT_YAML, load_strictly, exceptions=(yaml.YAMLError,))
    strict: dict[str, Any] = {"exit_on_error": False, "parser_mode": STRICT_YAML, "allow_abbrev": False}
    parser = ArgumentParser(
        prog="attention-unet",
        description="Attention U-Nets for MR volumes: train, predict, evaluate.",
        version=__version__,
        **strict,
    )
    commands = parser.add_subcommands(dest="command")
    subparsers: dict[str, ArgumentParser] = {}
    for name in COMMANDS:
        add_options = getattr(options, name.replace("-", "_"))  # its docstring is the help text
        subparsers[name] = ArgumentParser(description=add_options.__doc__, **strict)
        add_options(subparsers[name])
        commands.add_subcommand(name, subparsers[name], help=add_options.__doc__)
    return parser, subparsers


def complete(arguments: list[str]) -> list[str]:
    """Complete a call: a resumed run uses its own configuration, a budget replaces the one in the file, and the
    configuration of a run finds its data.

    Raise ConfigError if there is no run to resume, or the configuration file cannot be read.
    """
    words = _words(arguments)
    pairs = list(itertools.pairwise(words))
    given = [name for name in BUDGETS if any(o == f"--training.{name}" and value != "null" for o, value in pairs)]
    if given:
        arguments = [*arguments, *(f"--training.{name}=null" for name in BUDGETS if name not in given)]
    run = _value_of("--run", arguments)
    if words[:1] == ["train"] and "--resume" in words and "--config" not in words and run is not None:
        config = Path(run) / CONFIG
        if not config.is_file():
            raise ConfigError(
                f"{config.parent}: no run to resume: expected {CONFIG}; check --run, or, "
                "if it was stopped before the training began, repeat the command without --resume"
            )
        arguments = ["train", "--config", str(config), *arguments[1:]]
    words = _words(arguments)
    if words.count("--config") > 1:
        raise ConfigError("--config is given twice: expected one file")
    file = _value_of("--config", arguments)
    if file is not None:
        places = read_paths(Path(file).parent)
        sections = [(name, of) for name, of in load_fields(Path(file)).items() if isinstance(of, dict)]
        fields = {f"{section}.{name}": value for section, of in sections for name, value in of.items()}
        beside = files_beside(Path(file), fields)
        if START in places:
            beside[START] = Path(places.pop(START))
        before = [f"--{name}={place}" for name, place in places.items()]
        after = [f"--{name}={path}" for name, path in beside.items() if f"--{name}" not in words]
        arguments = [*arguments[:1], *before, *arguments[1:], *after]
    return arguments


def _words(arguments: Sequence[str]) -> list[str]:
    """Return arguments with options apart from the values that follow an equals sign."""
    return [word for each in arguments for word in (each.split("=", 1) if each.startswith("--") else [each])]


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """Return the value that follows an option, at its first place; None if there is none."""
    words = _words(arguments)
    return words[words.index(option) + 1] if option in words[:-1] else None


def files_beside(file: Path, fields: Mapping[str, Any]) -> dict[str, Path]:
    """Return the paths of the fields in a file that name another file, relative to it."""
    named = {name: file.parent / fields[name] for name in sorted(FILES) if isinstance(fields.get(name), str)}
    return {name: path for name, path in named.items() if name != START or path.exists()}  # or a model's name


def load_fields(file: Path) -> dict[str, Any]:
    """Return the fields of a YAML file. Raise ConfigError if it cannot be read, or has no fields."""
    try:
        found = load_strictly(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}): expected a YAML file of fields") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not a text in UTF-8: expected a YAML file of fields") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: is nested too deeply: expected a YAML file of fields") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{file}{line}: {problem}: correct it") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: has no fields: expected some, such as training: {{steps: 1000}}")
    return found


def explain_error(error: Exception, subparsers: dict[str, ArgumentParser]) -> str:
    """Return the parser's message on one line, in plain words, with the nearest known name for an unknown one."""
    text, required, names = " ".join(str(error).split()).partition("required: ")
    actions = [(name, action) for name, parser in subparsers.items() for action in parser._actions]
    positional = {f"{name}.{action.dest}" for name, action in actions if not action.option_strings}
    text += required + re.sub(r"\b\w+\.(\w+)", lambda m: m[1] if m[0] in positional else f"--{m[1]}", names)
    if found := WRONG_TYPE.fullmatch(text):
        expected = found["union"] or found["one"]
        for type_, words in WORDS.items():
            expected = expected.replace(type_, words)
        name = found["name"] if "." in found["name"] else f"--{found['name'].replace('_', '-')}"
        return f"{name} is {found['value']}: expected {expected}"
    if (unknown := re.search(r"arguments: (-[cdf]\b|[^-]\S*)", text)) and not required:
        if unknown[1].startswith("-"):
            text += ": docs/getting_started.md has a table of nnU-Net's options and those here"
        elif os.path.isdir(unknown[1]):
            text += f": name a dataset by --data.root {unknown[1]}, scans by -i"
    match = re.search(r"option '([\w.]+)'|arguments: --([\w.-]+)|[Kk]ey \"?'?([\w.]+)", text)
    wrong = next((group for group in match.groups() if group), "").replace("-", "_") if match else ""
    known = [action.dest for _, action in actions]
    nearest = difflib.get_close_matches(wrong, known, n=1)
    if wrong and wrong not in known and nearest:
        text += f": did you mean {nearest[0] if '.' in nearest[0] else nearest[0].replace('_', '-')}?"
    return text


def wants_jobs(given: Namespace, others: Sequence[str] = ()) -> bool:
    """Return whether a call wants several processes. ``others`` are the options given that exclude ``--jobs``.

    Raise ConfigError if ``--jobs`` is less than 1, or is excluded.
    """
    if given.jobs < 1:
        raise ConfigError(f"--jobs is {given.jobs}: expected 1 or more")
    if given.jobs > 1 and others:
        raise ConfigError(f"--jobs and {others[0]}: expected one of them")
    return bool(given.jobs > 1)
