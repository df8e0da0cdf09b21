"""Parser of the command line. Heavy imports have no place here: ``--help`` reads this file."""

from functools import cache
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_loader

from attention_unet import __version__
from attention_unet.cli import options
from attention_unet.cli.strict_yaml import load_strictly

STRICT_YAML = "strict yaml"


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
