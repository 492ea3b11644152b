"""`aigate`: find the command, run it, map what happened to an exit code.

0 pass · 1 fail · 2 usage or configuration · 3 inconclusive · 4 error. Only 0 may deploy.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from aigate import __version__
from aigate.core.registry import nearest
from aigate.errors import AigateError

__all__ = ["Context", "main"]

INTERRUPTED = 130  # what a shell expects of a command ended by Ctrl-C
EPILOG = """\
exit codes: 0 pass, 1 fail, 2 usage or configuration, 3 inconclusive, 4 error (could not judge). Only 0 may deploy.

example: aigate eval --suite goldens/support-faq --threshold 0.85
"""
COMMANDS = ("eval", "gate", "compare", "baseline", "goldens", "report", "config")


@dataclass(frozen=True)
class Context:
    """What a command may touch of the world.

    Attributes:
        environ: The environment.
        stdout: Where documents go.
        stderr: Where people read.
        cwd: The current directory.
    """

    environ: Mapping[str, str]
    stdout: TextIO
    stderr: TextIO
    cwd: Path


class _Parser(argparse.ArgumentParser):
    """Says what is wrong the way all our errors do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"aigate: {message}\n  next: {self.prog} --help\n")

    def refuse(self, argument: str) -> NoReturn:
        """Refuse an argument that the command does not take; names the nearest flag."""
        flag = argument.partition("=")[0]
        known = [option for action in self._actions for option in action.option_strings]
        hint = nearest(flag, known, kind="flags") if flag.startswith("-") else f"{self.prog} --help"
        self.exit(2, f"aigate: {self.prog.removeprefix('aigate ')}: unknown argument {argument!r}\n  next: {hint}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; default: those of the process.

    Returns:
        The exit code.
    """
    parsed, unknown = _parser().parse_known_args(arguments)
    if unknown:
        parsed.parser.refuse(unknown[0])
    context = Context(os.environ, sys.stdout, sys.stderr, Path.cwd())
    signal.signal(signal.SIGTERM, _stop)  # a cancelled CI job leaves a resumable run, like Ctrl-C
    try:
        code: int = parsed.run(parsed, context)
    except AigateError as error:
        print(f"aigate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("aigate: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; the verdict was not delivered, so this is no pass.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 4
    return code


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="aigate",
        description="A gate in front of every model, provider or prompt change.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"aigate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"aigate.cli.{name}").add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
