"""`python -m aigate` is `aigate`: the command as a process of its own."""

import atexit
import gc
import os
import sys
from contextlib import suppress

SELDOM = 100_000  # objects until cycles are looked for: a start makes half as many, and hardly a cycle

__all__ = ["main"]

_codes: list[int] = []


def main() -> int:
    """Run one command and, where it is the whole process, leave as soon as all is said and done.

    Returns:
        The exit code.
    """
    # Before anything else is imported: what is registered first is called last. Where somebody came before us (a
    # tracer, a coverage tool), the interpreter ends the long way, so that it is called too.
    if _is_the_process():
        gc.set_threshold(SELDOM, *gc.get_threshold()[1:])
        if getattr(atexit, "_ncallbacks", lambda: 1)() == 0:
            atexit.register(_leave)
    from aigate.cli.main import main as run

    _codes.append(run())
    return _codes[-1]


def _is_the_process() -> bool:
    """False where a script runs the command and goes on, with an exit code of its own."""
    file = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    return file == __file__ or os.path.basename(file) == "aigate"  # noqa: PTH119 - before anything is imported


def _leave() -> None:
    """Skip what comes after everything that was registered: freeing modules one by one takes 50 ms."""
    if not _codes:  # the command did not come to an end: that is for the interpreter to tell
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # None, or closed: what the command wrote is out already
            stream.flush()
    os._exit(_codes[-1])


if __name__ == "__main__":
    sys.exit(main())
