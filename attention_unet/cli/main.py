"""One call of the command line: parse, run a subcommand, turn errors into a line and an exit code."""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType

from rich.console import Console

from attention_unet.cli.commands import COMMANDS
from attention_unet.cli.parser import build_parser, completed, explain
from attention_unet.cli.screen import ConsoleHandler
from attention_unet.errors import ConfigError, UserError

log = logging.getLogger("attention_unet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return the exit code: 0 all well, 1 something failed, 2 the call or config is wrong."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[ConsoleHandler(console)], force=True)
    log.setLevel(logging.INFO)  # what other libraries tell of themselves is no news
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what is wrong with a file we tell with its name
    warnings.showwarning = lambda message, *_: log.warning("warning: %s", message)
    parser, subparsers = build_parser()
    before = signal.getsignal(signal.SIGTERM)
    try:
        try:
            chosen = parser.parse_args(completed(list(sys.argv[1:] if arguments is None else arguments)))
        except Exception as error:  # jsonargparse raises several kinds, all about the call
            raise ConfigError(explain(error, subparsers)) from error
        signal.signal(signal.SIGTERM, _end)
        return COMMANDS[chosen.command](chosen[chosen.command], subparsers[chosen.command], console)
    except UserError as error:
        stopped = error.exit_code > 128  # by the user, who made no mistake
        line, style = (f"{error}", "") if stopped else (f"error: {error}", "red")
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    """Leave as after an error, so that what is done is noted."""
    raise SystemExit(128 + number)
