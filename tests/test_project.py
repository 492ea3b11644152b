"""The repository is what its plan says: the top level, pyproject.toml, CI, and nothing of anybody's machine in it."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
TOP_LEVEL = {
    "pyproject.toml",
    "README.md",
    "src",
    "goldens",
    "tests",
    "benchmarks",
    "notebooks",
    "LICENSE",
    "CHANGELOG.md",
}
FOLDERS_OF_MACHINES = ("work", "home", "tmp", "root", "Users")
# Written in pieces, so that this file may be looked through like any other.
INDEX_HOSTS = (
    "pypi" + r"\.org",
    "python" + "hosted",
    "registry" + r"\.npmjs",
    "deb" + r"\.debian",
    "conda" + r"\.anaconda",
)


@pytest.fixture(scope="module")
def files():
    """Every file that git knows or would take, by its path from the top."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if listed.returncode != 0:
        pytest.skip("not a git repository: an unpacked archive holds other files too")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def _texts(files):
    for name in files:
        try:
            yield name, (ROOT / name).read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue  # a picture, or an asset that is broken on purpose


def _hits(files, pattern):
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in _texts(files)
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_top_level_holds_only_what_the_plan_names(files):
    top = {name.partition("/")[0] for name in files}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL
    assert {"pyproject.toml", "README.md", "src", "goldens", "tests", "LICENSE", "CHANGELOG.md"} <= top


def test_no_file_names_a_path_of_somebodys_machine(files):
    pattern = _path_pattern()
    assert _hits(files, pattern) == []


@pytest.mark.parametrize("text", ["see /{}/x", '"/{}/x"', "=/{}/", "file:///{}/x"])
@pytest.mark.parametrize("folder", FOLDERS_OF_MACHINES)
def test_the_search_for_paths_finds_them(text, folder):
    assert _path_pattern().search(text.format(folder))


@pytest.mark.parametrize("text", ["src/tmp/x", "../work/x", "a.b/home/x", "https://example.org/home/x", "/template"])
def test_the_search_for_paths_takes_no_other_for_one(text):
    assert not _path_pattern().search(text)


def _path_pattern():
    return re.compile(r"(?:(?<=file://)|(?<![\w.~/}-]))/(?:" + "|".join(FOLDERS_OF_MACHINES) + r")/")


def test_no_file_names_the_host_of_a_package_index(files):
    pattern = re.compile("|".join(INDEX_HOSTS), re.IGNORECASE)
    assert pattern.search("https://py" + "pi.org/simple")
    assert _hits(files, pattern) == []


def test_python_versions_of_project_linter_types_and_ci_agree():
    listed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={listed[0]}"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{listed[0].replace('.', '')}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == listed[0]
    assert WORKFLOW["jobs"]["ci"]["strategy"]["matrix"]["python"] == listed


def test_extra_all_holds_every_extra_that_users_want():
    extras = PROJECT["optional-dependencies"]
    [everything] = extras["all"]
    named = re.fullmatch(r"aigate\[([\w,]+)\]", everything).group(1).split(",")
    own = {"all", "test", "dev", "browser", "integration", "notebooks", "oracles", "ragas", "rivals"}
    own.add("local")  # a gigabyte, which nobody gets without having named it
    assert sorted(named) == sorted(set(extras) - own)


def test_no_dependency_is_capped_from_above():
    # The rivals are pinned: the committed table of error rates speaks of these versions. ragas does not import without.
    extras = [lines for name, lines in PROJECT["optional-dependencies"].items() if name not in {"rivals", "ragas"}]
    needed = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    assert [line for line in needed if re.search(r"<|==|~=", line)] == []


def test_the_command_is_the_program():
    module, _, function = PROJECT["scripts"]["aigate"].partition(":")
    assert (ROOT / "src" / (module.replace(".", "/") + ".py")).is_file()
    assert function == "main"


def test_default_suite_is_there():
    assert (ROOT / PYPROJECT["tool"]["aigate"]["suite"] / "samples.jsonl").is_file()


def test_ci_script_runs_and_is_sound_bash():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize(
    "tool",
    [
        *("ruff check .", "ruff format --check .", "-m mypy"),
        *("-m 'integration and not ragas'", "-m ragas", "main-job", "tests"),
    ],
)
def test_ci_script_has_the_step(tool):
    assert tool in (ROOT / ".ci/run").read_text("utf-8")


def test_workflow_runs_the_ci_script_and_little_else():
    steps = WORKFLOW["jobs"]["ci"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["jobs"]["ci"]["timeout-minutes"] <= 30


def test_workflow_pins_actions_by_commit_and_keeps_no_credentials():
    steps = [step for step in WORKFLOW["jobs"]["ci"]["steps"] if "uses" in step]
    assert steps
    assert [step["uses"] for step in steps if not re.search(r"@[0-9a-f]{40}$", step["uses"])] == []
    [checkout] = [step for step in steps if step["uses"].startswith("actions/checkout@")]
    assert checkout["with"]["persist-credentials"] is False
