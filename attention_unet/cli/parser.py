"""Parser of the command line. Heavy imports have no place here: ``--help`` reads this file."""

from collections.abc import Callable
from functools import cache

import yaml
from jsonargparse import ArgumentParser, set_loader

from attention_unet import __version__
from attention_unet.cli import options
from attention_unet.cli.strict_yaml import load_strictly

STRICT_YAML = "strict yaml"
COMMANDS: tuple[Callable[[ArgumentParser], None], ...] = (  # each adds its options; its docstring is the help text
    options.train,
    options.inspect,
    options.cross_validate,
    options.predict,
    options.evaluate,
    options.compare,
    options.explain,
    options.study,
    options.report,
    options.export,
    options.card,
    options.fetch,
    options.phantom,
    options.attention,
)


@cache
def build_parser() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """Return the parser, and the parsers of its subcommands by name."""
    set_loader(STRICT_YAML, load_strictly, exceptions=(yaml.YAMLError,))
    parser = ArgumentParser(
        prog="attention-unet",
        description="Attention U-Nets for MR volumes: train, predict, evaluate.",
        exit_on_error=False,
        parser_mode=STRICT_YAML,
        version=__version__,
        allow_abbrev=False,
    )
    commands = parser.add_subcommands(dest="command")
    subparsers: dict[str, ArgumentParser] = {}
    for add_options in COMMANDS:
        name, text = add_options.__name__.replace("_", "-"), add_options.__doc__
        subparsers[name] = ArgumentParser(
            description=text, exit_on_error=False, parser_mode=STRICT_YAML, allow_abbrev=False
        )
        add_options(subparsers[name])
        commands.add_subcommand(name, subparsers[name], help=text)
    return parser, subparsers
