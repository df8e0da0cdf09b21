"""Read YAML strictly: a key given twice and aliases are errors."""

import dataclasses
from typing import Any

import yaml
from jsonargparse import get_loader

from attention_unet.config import Config

CODE = ("class_path", "init_args", "dict_kwargs")  # keys by which jsonargparse would import what a file names
SECTIONS = [field.name for field in dataclasses.fields(Config)]


def load_strictly(text: str) -> Any:
    """Read YAML as the parser does, but raise yaml.YAMLError, with the line, for a key given twice and for an alias.

    A few lines of aliases can expand to more values than fit into memory.
    """

    def check(node: yaml.Node | None, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            names = [path + str(key.value) for key, _ in node.value]
            for number, (name, (key, value)) in enumerate(zip(names, node.value, strict=True)):
                if name in names[:number]:
                    raise yaml.MarkedYAMLError(problem=f"{name} is given twice", problem_mark=key.start_mark)
                if key.value in CODE:
                    problem = f"{name} would name code to run: a file may not"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                if name in SECTIONS and not isinstance(value, yaml.MappingNode):
                    problem = f"{name} is not a mapping of its fields, such as {name}:\n  field: value"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=value.start_mark)
                check(value, f"{name}.")
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                check(item, f"{path}{number}.")

    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            problem = f"*{event.anchor} is an alias: write its value out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]
    check(yaml.compose(text, Loader=yaml.SafeLoader), "")
    try:
        return get_loader("yaml")(text)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # such as !!int abc
        raise yaml.YAMLError(f"a value is not valid ({error})") from error
