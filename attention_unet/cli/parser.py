"""Parser of the command line. Heavy imports have no place here: ``--help`` reads this file."""

from collections.abc import Callable
from functools import cache

import yaml
from jsonargparse import ArgumentParser, set_loader

from attention_unet import __version__
from attention_unet.cli import options
from attention_unet.cli.strict_yaml import load_strictly

STRICT_YAML = "strict yaml"
COMMANDS: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {
    "train": ("Train a network on a dataset.", options.train),
    "inspect": ("Check every file of a dataset, describe it, and plan a training.", options.inspect),
    "cross-validate": (
        "Train on every fold, predict and score the held-out cases; resumable.",
        options.cross_validate,
    ),
    "predict": ("Segment scans with a trained model.", options.predict),
    "evaluate": ("Score predictions against references.", options.evaluate),
    "compare": ("Compare evaluations of the same cases with the first one, case by case.", options.compare),
    "explain": (
        "Check on held-out scans of a run whether it uses its attention, beside controls.",
        options.explain,
    ),
    "study": (
        "Train several arms with several seeds and folds, and test hypotheses about them; resumable.",
        options.study,
    ),
    "report": (
        "Write a page of scores, cases slice by slice, and training curves: one file, offline.",
        options.report,
    ),
    "export": ("Write the network of a model for other programs.", options.export),
    "card": ("Write a model card, with the head that the Hugging Face hub reads.", options.card),
    "fetch": ("Download a public dataset.", options.fetch),
    "phantom": ("Make a dataset of MR-like phantoms.", options.phantom),
    "attention": (
        "List the attention mechanisms, explain their options, and measure the cost of each.",
        options.attention,
    ),
}


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
    for name, (text, add_options) in COMMANDS.items():
        subparsers[name] = ArgumentParser(
            description=text, exit_on_error=False, parser_mode=STRICT_YAML, allow_abbrev=False
        )
        add_options(subparsers[name])
        commands.add_subcommand(name, subparsers[name], help=text)
    return parser, subparsers
