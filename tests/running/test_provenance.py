"""Where a run comes from."""

import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import aigate
from aigate.running.provenance import LIBRARIES, code_digest, library_versions

ASK = "from aigate.running.provenance import code_digest\nprint(code_digest())"


def test_the_same_code_has_the_same_digest_wherever_it_stands_and_any_other_another(tmp_path):
    copy = tmp_path / "aigate"
    shutil.copytree(Path(aigate.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def digest():
        environ = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", ASK]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    assert digest() == code_digest()
    (copy / "core" / "score.py").write_text("# other\n" + (copy / "core" / "score.py").read_text("utf-8"), "utf-8")
    assert digest() != code_digest()


def test_versions_are_those_that_packages_tell():
    told = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            told[name] = version(name)
    assert library_versions() == told
    assert {"aigate", "numpy", "scipy"} < told.keys()
