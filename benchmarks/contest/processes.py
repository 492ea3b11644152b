"""A process from start to exit: wall, CPU and memory of all it starts, and when it said what."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.1
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process took.

    Attributes:
        wall_s: From just before its start to its end.
        cpu_s: User and system time, children included that were waited for.
        peak_mb: The most resident memory (10^6 bytes) of the process and its children together, looked at ten times a
            second; no less than the kernel's own record of the largest of them (`VmHWM`; that of `wait4` holds what
            resided in whoever started it).
        code: Exit code; negative: the signal that ended it.
        timed_out: Whether it was ended because it took too long.
        lines: What it wrote on standard error, each line with the `time.time()` at which it came.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    code: int
    timed_out: bool
    lines: tuple[tuple[float, str], ...]

    @property
    def tail(self) -> str:
        """The last lines, for messages."""
        return "\n".join(text for _, text in self.lines[-8:])


def measured(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environ: Mapping[str, str],
    limit_s: float,
    kill_when: Callable[[], bool] | None = None,
) -> Measured:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        folder: Where it runs; its standard output goes to `stdout.txt` there.
        environ: All of its environment.
        limit_s: Seconds after which it and its children are killed.
        kill_when: Asked every 10 ms; once it says True, the process and its children are killed (SIGKILL).
    """
    lines: list[tuple[float, str]] = []
    with (folder / "stdout.txt").open("wb") as out:
        started_s = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        ended = threading.Event()
        watch = _Watch(process.pid, limit_s, ended)
        threads = [threading.Thread(target=watch.memory), threading.Thread(target=_read, args=(process, lines))]
        threads += [threading.Thread(target=watch.killer, args=(kill_when,))] if kill_when else []
        for thread in threads:
            thread.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started_s
    process.returncode = os.waitstatus_to_exitcode(status)
    ended.set()
    kill_group(process.pid)  # what it left behind would disturb the next one, and keep standard error open
    for thread in threads:
        thread.join()
    peak_mb = watch.peak_bytes / MEGABYTE
    cpu_s = usage.ru_utime + usage.ru_stime
    return Measured(wall_s, cpu_s, peak_mb, process.returncode, watch.timed_out, tuple(lines))


def clean_environ(scratch: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment every contender starts from: no proxy, a made-up key, a home of its own, telemetry off.

    Byte-code is written and kept, as it is for a user.
    """
    kept = {name: environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in environ}
    (scratch / "home").mkdir(parents=True, exist_ok=True)
    return {
        **kept,
        "HOME": str(scratch / "home"),
        "OPENAI_API_KEY": "none",
        "NO_PROXY": "127.0.0.1",
        "DO_NOT_TRACK": "1",
        "RAGAS_DO_NOT_TRACK": "true",
        "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
        "HF_HUB_OFFLINE": "1",
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    }


def busy_share(seconds: float = 0.3) -> float:
    """The share of all cores that something else uses now, in [0, 1]; 0 where the system does not tell."""
    before = _jiffies()
    time.sleep(seconds)
    after = _jiffies()
    total = sum(after) - sum(before)
    idle = (after[3] + after[4]) - (before[3] + before[4]) if total else 0
    return 0.0 if not total else max(0.0, 1.0 - idle / total)


def kill_group(pid: int) -> None:
    """Kill a process and all it started, as far as they are still there."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class _Watch:
    """Looks at one process from outside while it runs."""

    def __init__(self, pid: int, limit_s: float, ended: threading.Event) -> None:
        self.peak_bytes, self.timed_out = 0, False
        self._pid, self._ended = pid, ended
        self._until_s = time.monotonic() + limit_s

    def memory(self) -> None:
        while True:
            tree = _tree(self._pid)
            together = sum(_resident_bytes(pid) for pid in tree)
            self.peak_bytes = max(self.peak_bytes, together, *map(_most_resident_bytes, tree))
            if self._ended.wait(SAMPLE_S):
                return
            if time.monotonic() > self._until_s and not self.timed_out:
                self.timed_out = True
                kill_group(self._pid)

    def killer(self, kill_when: Callable[[], bool]) -> None:
        while not self._ended.wait(0.01):
            if kill_when():
                return kill_group(self._pid)
        return None


def _read(process: subprocess.Popen[bytes], lines: list[tuple[float, str]]) -> None:
    assert process.stderr is not None
    with process.stderr as stream:
        for line in stream:
            lines.append((time.time(), line.decode("utf-8", "replace").rstrip()))


def _tree(pid: int) -> list[int]:
    """The process and everything below it; what ends while we look is left out."""
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        for children in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            left += map(int, _text(children).split())
    return found


def _most_resident_bytes(pid: int) -> int:
    """The kernel's record of a process since its program began; 0 where there is none."""
    lines = _text(Path(f"/proc/{pid}/status")).splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _resident_bytes(pid: int) -> int:
    fields = _text(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * PAGE_BYTES if len(fields) > 1 else 0


def _jiffies() -> list[int]:
    first = _text(Path("/proc/stat")).split("\n", 1)[0].split()[1:9]
    return [int(number) for number in first] or [0] * 8


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
