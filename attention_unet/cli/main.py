"""Run a call of the command line: parse it, run a subcommand, turn errors into a line and an exit code."""

import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType

from attention_unet.cli.call import build_parser, complete, explain_error
from attention_unet.cli.commands import COMMANDS
from attention_unet.cli.screen import ConsoleHandler
from attention_unet.errors import ConfigError, UserError
from attention_unet.machine.progress import SCREEN

log = logging.getLogger("attention_unet")

ENDING = (signal.SIGTERM, signal.SIGHUP)
BROKEN_PIPE = 141  # exit code in a shell of a program whose reader has ended
HOW_TO_RESUME = {  # after a command was stopped
    "predict": ": the same command with --resume predicts the rest",
    "cross-validate": ": the same command goes on",
    "study": ": the same command goes on",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand. Return the exit code: 0 success, 1 something failed, 2 wrong call or configuration."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not show every name
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[ConsoleHandler()], force=True)
    log.setLevel(logging.INFO)  # of this program only; other libraries stay at warnings
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # its messages lack the file; ours name it
    logging.getLogger("pydicom").disabled = True  # as well; its import sets the level
    for name, level in (("KINETO_LOG_LEVEL", "99"), ("TORCH_CPP_LOG_LEVEL", "ERROR")):
        os.environ.setdefault(name, level)  # of torch's profiler, which writes beside the progress
    warnings.showwarning = lambda message, *_: log.warning("%s", message)
    parser, subparsers = build_parser()
    before = {each: signal.getsignal(each) for each in ENDING}
    try:
        arguments = complete(list(sys.argv[1:] if arguments is None else arguments))
        try:
            chosen = parser.parse_args(arguments)
        except Exception as error:  # jsonargparse raises several kinds, all about the call
            raise ConfigError(explain_error(error, subparsers)) from error
        for each in ENDING:
            if before[each] != signal.SIG_IGN:  # as nohup sets it
                signal.signal(each, _end)
        options = chosen[chosen.command]
        options.arguments = arguments  # for --jobs
        code = COMMANDS[chosen.command](options, subparsers[chosen.command])
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except UserError as error:
        SCREEN.print(f"error: {error}", style="red", soft_wrap=True)
        return error.exit_code
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:  # disk, rights or terminal
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}: check space and rights")
    except MemoryError:
        return _fail("out of memory: close other programs, or use a larger machine")
    except KeyboardInterrupt as error:  # of a training, it has a message and an exit code
        SCREEN.print(f"{error}" or f"stopped{HOW_TO_RESUME.get((arguments or [''])[0], '')}", soft_wrap=True)
        return getattr(error, "exit_code", 130)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        _drop_what_cannot_be_written()


def _drop_what_cannot_be_written() -> None:
    """Drop text that a closed terminal does not accept: otherwise Python exits with code 120."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fail(text: str) -> int:
    SCREEN.print(f"error: {text}", style="red", soft_wrap=True)
    return UserError.exit_code


def _end(number: int, frame: FrameType | None) -> None:
    """End as after an error, so that finished work is recorded. A closing terminal may send its signal twice."""
    if number != signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
