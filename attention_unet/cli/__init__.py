"""The command line: thin subcommands over the functions of the package."""

from attention_unet.cli.main import main

__all__ = ["main"]
