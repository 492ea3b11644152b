"""Installed and not asked, the plugin does nothing that anybody could notice."""

import json
import os
import subprocess
import sys

import pytest

UNRELATED = "import pytest\n\n@pytest.mark.parametrize('n', range(20))\ndef test_n(n):\n    assert n >= 0\n"
PROBE = """
import json, sys, pytest

class Probe:
    def pytest_unconfigure(self, config):
        ours = sorted(name for name in sys.modules if name.partition(".")[0] == "aigate")
        print("MODULES", json.dumps(ours))

sys.exit(pytest.main(sys.argv[1:], plugins=[Probe()]))
"""


def run(folder, *arguments, environ=()):
    """A pytest in a process of its own, without the plugins of others."""
    without = [word for name in ("benchmark", "hypothesispytest", "anyio") for word in ("-p", f"no:{name}")]
    return subprocess.run(
        [sys.executable, "-c", PROBE, *without, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}, **dict(environ)},
    )


@pytest.fixture
def unrelated(tmp_path):
    folder = tmp_path / "unrelated"
    folder.mkdir()
    (folder / "test_n.py").write_text(UNRELATED)
    return folder


def modules(done):
    [line] = [line for line in done.stdout.splitlines() if line.startswith("MODULES")]
    return json.loads(line.removeprefix("MODULES "))


def told(done):
    """What a session prints, without what differs between any two."""
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("MODULES", "plugins:"))]
    return [line.split(" in ")[0] for line in lines]


@pytest.mark.parametrize("more", [[], ["-n", "2"]])
def test_it_imports_nothing_of_the_package_but_itself(unrelated, more):
    done = run(unrelated, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert modules(done) == ["aigate", "aigate.pytest_plugin"]


@pytest.mark.parametrize("more", [[], ["-W", "error"], ["-p", "no:cacheprovider"], ["--strict-markers"]])
def test_it_prints_and_creates_nothing(unrelated, more):
    before = {path.name for path in unrelated.iterdir()}
    with_it, without = run(unrelated, *more), run(unrelated, *more, "-p", "no:aigate")
    assert (with_it.returncode, with_it.stderr) == (0, "")
    assert told(with_it) == told(without)
    assert {path.name for path in unrelated.iterdir()} - before <= {".pytest_cache", "__pycache__"}


def test_every_option_and_setting_of_it_is_prefixed(unrelated):
    help_with, help_without = (run(unrelated, "--help", *more).stdout for more in ([], ["-p", "no:aigate"]))
    added = [line for line in help_with.splitlines() if line.strip() and line not in help_without.splitlines()]
    flags = {word.partition("=")[0] for line in added for word in line.split() if word.startswith("--")}
    assert flags == {
        *("--aigate-collect", "--aigate-update-baseline", "--aigate-baseline", "--aigate-threshold", "--aigate-json"),
    }
    assert [line for line in added if "aigate" in line and "aigate_collect (bool)" in line]


def test_it_adds_one_marker_and_one_fixture(unrelated):
    markers, fixtures = (run(unrelated, flag).stdout for flag in ("--markers", "--fixtures"))
    assert markers.count("@pytest.mark.aigate(") == 1
    assert fixtures.count("aigate/pytest_plugin.py:") == 1
    assert "\naigate -- " in fixtures


def test_a_suite_in_the_tree_is_left_alone(unrelated):
    (unrelated / "goldens" / "faq").mkdir(parents=True)
    (unrelated / "goldens" / "faq" / "suite.toml").write_text("broken")
    done = run(unrelated)
    assert done.returncode == 0
    assert modules(done) == ["aigate", "aigate.pytest_plugin"]


def test_settings_of_aigate_in_the_environment_are_not_read(unrelated):
    done = run(unrelated, environ={"AIGATE_THRESHOLD": "nonsense", "AIGATE_NO_SUCH": "1"})
    assert done.returncode == 0
    assert modules(done) == ["aigate", "aigate.pytest_plugin"]
