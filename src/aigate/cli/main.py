"""`aigate`: find the command, run it, map what happened to an exit code.

0 pass · 1 fail · 2 usage or configuration · 3 inconclusive · 4 error. Only 0 may deploy.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from aigate import __version__
from aigate.core.registry import nearest
from aigate.errors import AigateError
from aigate.reports.job_log import commands_stopped
from aigate.reports.text import printable

__all__ = ["Context", "main", "parse"]

INTERRUPTED = 130  # what a shell expects of a command ended by Ctrl-C
EPILOG = """\
exit codes: 0 pass, 1 fail, 2 usage or configuration, 3 inconclusive, 4 error (could not judge). Only 0 may deploy.

example: aigate eval --suite goldens/support-faq --threshold 0.85
"""
COMMANDS = (
    *("init", "eval", "gate", "compare", "bench", "baseline", "goldens", "judge", "journal", "report", "config"),
    "explain",
)


@dataclass(frozen=True)
class Context:
    """What a command may touch of the world.

    Attributes:
        environ: The environment.
        stdout: Where documents go.
        stderr: Where people read.
        cwd: The current directory.
        origins: What gave a flag's value, by the setting's key, where that is not the command line: pytest's options.
    """

    environ: Mapping[str, str]
    stdout: TextIO
    stderr: TextIO
    cwd: Path
    origins: Mapping[str, str] = field(default_factory=dict)


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
    parsed = parse(arguments)
    with _streams() as (stdout, stderr), _sigterm_like_ctrl_c():
        return _run(parsed, Context(os.environ, stdout, stderr, Path.cwd()))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command's arguments, as `aigate` takes them.

    Raises:
        SystemExit: They are none; what is wrong was said on standard error.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    named = arguments[0] if arguments and arguments[0] in COMMANDS else None
    parsed, unknown = _parser(named).parse_known_args(arguments)
    if unknown:
        parsed.parser.refuse(unknown[0])
    return parsed


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """A cancelled CI job leaves a resumable run, as Ctrl-C does. Only the main thread may say so.

    A shell starts what is to run in the background with Ctrl-C ignored; it stays so, and SIGTERM works all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if deaf:  # blocked instead: only we let it through
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if deaf:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _run(parsed: argparse.Namespace, context: Context) -> int:
    """Run the command; whatever goes wrong becomes a message and an exit code."""
    try:
        code: int = parsed.run(parsed, context)
        context.stdout.flush()
    except AigateError as error:
        _say(f"aigate: {printable(str(error))}", context)
        return error.exit_code
    except KeyboardInterrupt:
        _say("aigate: interrupted", context)
        return INTERRUPTED
    except OSError as error:
        # Output that did not arrive is a verdict that did not arrive: no pass.
        where = f"{error.filename}: " if error.filename else "the output cannot be written: "
        _say(f"aigate: {printable(where)}{error.strerror or error}", context)
        return 4
    except Exception:  # noqa: BLE001 - exit code 1 would say that the candidate is worse; a defect of ours is no verdict
        _say(traceback.format_exc().rstrip(), context)
        _say("aigate: a defect of aigate, not of what it judged; please report the lines above", context)
        return 4
    return code


def _say(text: str, context: Context) -> None:
    """Tell why there is no verdict; where nobody reads on, the exit code says it alone."""
    with suppress(OSError), commands_stopped(context.stderr, context.environ):
        print(text, file=context.stderr)


@contextmanager
def _streams() -> Iterator[tuple[TextIO, TextIO]]:
    """Standard output and standard error that can show any text; where one is closed, nobody is told anything."""
    opened = [stream or Path(os.devnull).open("w", encoding="utf-8") for stream in (sys.stdout, sys.stderr)]  # noqa: SIM115
    for stream in opened:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield opened[0], opened[1]
    finally:
        for stream in opened:
            try:
                stream.flush()
            except OSError:  # said already; the interpreter must not say it again when it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    signal.raise_signal(signal.SIGINT)  # asyncio ends its tasks in good order on this one


def _parser(named: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command that was named, or of all of them."""
    parser = _Parser(
        prog="aigate",
        description="A gate in front of every model, provider or prompt change.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"aigate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS if named is None else (named,):
        import_module(f"aigate.cli.{name}").add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
