"""Files that are never half there."""

import signal
import subprocess
import sys
import textwrap

import pytest

from aigate import files
from aigate.files import write_atomically

DYING = """
    import os, signal, sys
    from pathlib import Path
    from aigate import files

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(*{"write": (os, "fsync", die), "replace": (Path, "replace", die)}[sys.argv[2]])
    files.write_atomically(Path(sys.argv[1]), b"new" * 100_000)
"""


def test_a_file_is_written_whole_with_its_folder(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two\xff")
    assert path.read_bytes() == b"two\xff"
    assert [other.name for other in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_writer_that_dies_leaves_the_old_content(tmp_path, step):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", textwrap.dedent(DYING), str(path), step]
    assert subprocess.run(command, timeout=30).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_atomically(path, b"newer")
    assert path.read_bytes() == b"newer"


def test_a_writer_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [other.name for other in tmp_path.iterdir()] == ["file"]
