"""Importing costs little and does nothing: no heavy package, no file, no change of the environment."""

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import aigate
from aigate.cli.main import COMMANDS

HEAVY = ["pandas", "sklearn", "datasets", "openai", "ragas", "numpy", "scipy", "rich", "jinja2", "yaml", "jsonschema"]
HEAVY += [
    "sacrebleu",
    "rouge_score",
    "httpx",
    "pydantic",
    "pytest",
    "asyncio",
    "fsspec",
    "obstore",
    "dask",
    "distributed",
]
MODULES = [found.name for found in pkgutil.walk_packages(aigate.__path__, "aigate.")]

HELP = """
import json, sys
sys.argv[0] = "aigate"
import aigate
before = [name for name in {heavy} if name in sys.modules]
if {arguments} is not None:
    import runpy
    sys.argv[1:] = {arguments}
    try:
        runpy.run_module("aigate", run_name="__main__")
    except SystemExit as stopped:
        assert not stopped.code, stopped.code
print(json.dumps([before, [name for name in {heavy} if name in sys.modules]]))
"""


def python(program, **options):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [None, ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_neither_the_package_nor_any_help_imports_a_heavy_package(arguments):
    *shown, loaded = python(HELP.format(heavy=HEAVY, arguments=arguments)).splitlines()
    assert json.loads(loaded) == [[], []]
    assert arguments is None or "aigate" in "".join(shown)


def test_the_probe_sees_a_heavy_package():
    probe = HELP.format(heavy=HEAVY, arguments=None).replace(
        "import aigate\n", "import aigate, aigate.gating.comparison\n"
    )
    assert "numpy" in json.loads(python(probe))[0]


def test_importing_the_package_imports_no_module_of_it_but_itself():
    program = "import sys, aigate\nprint(sorted(name for name in sys.modules if name.startswith('aigate')))"
    assert python(program).strip() == "['aigate']"


@pytest.mark.parametrize("name", aigate.__all__)
def test_every_public_name_is_found(name):
    assert getattr(aigate, name) is not None
    assert name in dir(aigate)


def test_every_public_name_can_be_imported_at_once():
    assert python("from aigate import *\nprint(Verdict.__name__, evaluate.__name__)").split() == ["Verdict", "evaluate"]


def test_an_unknown_name_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="module 'aigate' has no attribute 'evalaute'"):
        _ = aigate.evalaute
    with pytest.raises(ImportError, match="evalaute"):
        exec("from aigate import evalaute")  # noqa: S102


def test_importing_every_module_touches_neither_environment_nor_files_nor_streams(tmp_path):
    assert len(MODULES) > 60
    program = f"""
import importlib, os, sys, threading
environ, threads = dict(os.environ), threading.active_count()
for name in {[name for name in MODULES if name != "aigate.__main__"]}:
    importlib.import_module(name)
assert dict(os.environ) == environ, "the environment was changed"
assert threading.active_count() == threads, "a thread was started"
assert os.getcwd() == {str(tmp_path)!r}
assert os.listdir(".") == [], os.listdir(".")
assert os.listdir(os.environ["HOME"]) == [], os.listdir(os.environ["HOME"])
"""
    home = tmp_path.parent / f"{tmp_path.name}-home"
    home.mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_package_says_that_it_is_typed():
    assert (Path(aigate.__file__).parent / "py.typed").is_file()
