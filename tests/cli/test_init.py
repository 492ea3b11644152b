"""`aigate init`: what it finds out, what it writes, and that it writes over nothing."""

import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from aigate.cli.main import main
from aigate.cli.project import requirement_of_aigate, seen_in
from aigate.goldens.suite import load_suite


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to begin in."""
    place = tmp_path / "project"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return place


def init(*arguments):
    try:
        return main(["init", *arguments])
    except SystemExit as stopped:
        return stopped.code


def git(folder, *arguments):
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)


def repository(folder, url):
    git(folder, "init", "-q", "-b", "trunk")
    if url:
        git(folder, "remote", "add", "origin", url)


def written(folder):
    return {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and ".git/" not in str(path)
    }


def test_in_an_empty_folder_it_leaves_a_suite_that_passes(folder, capsys):
    assert init() == 0
    assert {
        "goldens/starter/suite.toml",
        "goldens/starter/samples.jsonl",
        "goldens/starter/prompts/v1.md",
        "goldens/starter/baselines/main.jsonl",
        ".github/workflows/aigate.yml",
        ".github/actions/aigate/action.yml",
        "pyproject.toml",
    } <= written(folder)
    assert "--ci chooses another" in capsys.readouterr().err
    assert main(["eval", "--quiet"]) == 0
    assert main(["goldens", "check"]) == 0


def test_the_starter_has_no_problem_and_no_warning(folder, capsys):
    init()
    capsys.readouterr()
    main(["goldens", "check"])
    assert "0 problems, 0 warnings" in capsys.readouterr().out


def test_a_broken_prompt_is_seen(folder, capsys):
    init()
    prompts = folder / "goldens/starter/prompts"
    (prompts / "v2.md").write_text(
        (prompts / "v1.md").read_text().replace("min-similarity: 0.3", "min-similarity: 0.9")
    )
    assert main(["eval", "--quiet", "--version", "extractive/tfidf-1/v2"]) == 1
    assert "includes fell by" in " ".join(capsys.readouterr().err.split())


def test_again_it_changes_nothing(folder, capsys):
    init()
    before = {name: (folder / name).read_bytes() for name in written(folder)}
    assert init() == 0
    assert {name: (folder / name).read_bytes() for name in written(folder)} == before
    assert "wrote" not in capsys.readouterr().out.split("kept", 1)[1]


def test_nothing_that_is_there_is_written_over(folder):
    (folder / "goldens/starter/prompts").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / ".github/workflows").mkdir(parents=True)
    mine = {
        "goldens/starter/suite.toml": "mine",
        "tests/test_goldens.py": "mine",
        ".github/workflows/aigate.yml": "mine",
        "pyproject.toml": '[tool.aigate]\nsuite = "other"\n',
    }
    for name, text in mine.items():
        (folder / name).write_text(text)
    assert init() == 0
    assert {name: (folder / name).read_text() for name in mine} == mine
    assert not (folder / "goldens/starter/baselines").exists()


def test_a_file_where_a_folder_is_needed_is_named(folder, capsys):
    (folder / "goldens").write_text("mine")
    assert init() == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"aigate: {folder / 'goldens'}: is a file, expected a folder",
        "  next: move it, or choose another --suite FOLDER",
    ]
    assert written(folder) == {"goldens"}


def test_samples_without_a_suite_are_left_alone_and_nothing_is_written(folder, capsys):
    (folder / "goldens" / "starter").mkdir(parents=True)
    (folder / "goldens" / "starter" / "samples.jsonl").write_text('{"id": "a", "input": "?"}\n')
    assert init() == 2
    assert "samples.jsonl: is there without a suite.toml" in capsys.readouterr().err
    assert written(folder) == {"goldens/starter/samples.jsonl"}
    assert init("--suite", "goldens/other") == 0


def test_a_pyproject_keeps_every_byte_and_gets_a_table_behind(folder):
    text = '[project]\nname = "bot"\nversion = "1"\n\n[tool.ruff]\nline-length = 99'
    (folder / "pyproject.toml").write_text(text)
    init()
    now = (folder / "pyproject.toml").read_text()
    assert now.startswith(text)
    assert tomllib.loads(now)["tool"]["aigate"] == {"suite": "goldens/starter"}


def test_a_broken_pyproject_is_left_alone_and_named(folder, capsys):
    (folder / "pyproject.toml").write_text("[broken")
    assert init() == 2  # the suite was written; aigate itself then says what is wrong with the file
    assert (folder / "pyproject.toml").read_text() == "[broken"
    assert "pyproject.toml" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(folder, capsys):
    assert init("--dry-run") == 0
    assert written(folder) == set()
    assert "goldens/starter/suite.toml" in capsys.readouterr().out


@pytest.mark.parametrize("suite", ["../elsewhere", "/elsewhere", "goldens/a b", "goldens/$(id)", "", ".hidden"])
def test_a_suite_must_lie_below_in_plain_letters(folder, suite, capsys):
    code = init("--suite", suite)
    assert (code, "--suite" in capsys.readouterr().err) == (2, True) if suite else code == 0


def test_the_suite_may_have_another_name(folder):
    assert init("--suite", "evals/support-faq") == 0
    assert load_suite(folder / "evals/support-faq").name == "support-faq"
    assert "evals/support-faq" in (folder / ".github/workflows/aigate.yml").read_text()


# --- what is found out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "ci", "path"),
    [
        ("git@github.com:me/bot.git", "github", ".github/workflows/aigate.yml"),
        ("https://github.com/me/bot", "github", ".github/workflows/aigate.yml"),
        ("https://token@gitlab.example.org/me/github-bot.git", "gitlab", ".gitlab-ci.yml"),
        ("git@gitlab.com:me/bot.git", "gitlab", ".gitlab-ci.yml"),
    ],
)
def test_the_remote_tells_the_ci_system(folder, url, ci, path):
    repository(folder, url)
    assert seen_in(folder).ci == ci
    init()
    assert (folder / path).is_file()
    assert len({".github/workflows/aigate.yml", ".gitlab-ci.yml"} & written(folder)) == 1


def test_a_ci_system_that_is_set_up_wins_where_the_remote_does_not_tell(folder):
    repository(folder, "https://git.example.org/me/bot")
    (folder / ".gitlab-ci.yml").write_text("stages: [test]\n")
    init()
    assert (folder / ".gitlab-ci.yml").read_text() == "stages: [test]\n"
    assert (folder / ".gitlab/aigate.yml").is_file()


def test_a_jenkinsfile_is_left_alone_and_told_what_to_add(folder, capsys):
    (folder / "Jenkinsfile").write_text("pipeline {}")
    init()
    assert "--format junit" in capsys.readouterr().err
    assert not {".github/workflows/aigate.yml", ".gitlab-ci.yml"} & written(folder)


def test_a_flag_chooses_the_ci_system(folder):
    init("--ci", "none")
    assert not {".github/workflows/aigate.yml", ".gitlab-ci.yml"} & written(folder)
    init("--ci", "gitlab")
    assert ".gitlab-ci.yml" in written(folder)


@pytest.mark.parametrize(
    ("files", "install"),
    [
        ({"uv.lock": ""}, "uv export"),
        ({"poetry.lock": ""}, "poetry install"),
        ({"pdm.lock": ""}, "pdm export"),
        ({"Pipfile": ""}, "pipenv install"),
        ({"pyproject.toml": '[project]\nname = "a"\nversion = "1"\n'}, "pip install ."),
        (
            {"pyproject.toml": '[project]\nname = "a"\nversion = "1"\n[project.optional-dependencies]\ndev = []\n'},
            "pip install '.[dev]'",
        ),
        ({"requirements.txt": ""}, "pip install -r requirements.txt"),
        ({"requirements.txt": "", "requirements-dev.txt": ""}, "pip install -r requirements-dev.txt"),
        ({}, ""),
    ],
)
def test_the_package_manager_is_found_out(folder, files, install):
    for name, text in files.items():
        (folder / name).write_text(text)
    assert install in seen_in(folder).install
    init()
    steps = yaml.safe_load((folder / ".github/workflows/aigate.yml").read_text())["jobs"]["code"]["steps"]
    [step] = [step["run"] for step in steps if step.get("name") == "Install"]
    assert install in step
    assert requirement_of_aigate() in step


@pytest.mark.parametrize(
    ("files", "tests"),
    [
        (["tests/test_a.py"], "tests"),
        (["test/test_a.py"], "test"),
        (["src/a.py"], ""),
    ],
)
def test_a_test_is_added_where_there_are_tests(folder, files, tests):
    for name in files:
        (folder / name).parent.mkdir()
        (folder / name).write_text("def test_a(): pass\n")
    init()
    assert (f"{tests}/test_goldens.py" in written(folder)) is bool(tests)
    assert ("python -m pytest" in (folder / ".github/workflows/aigate.yml").read_text()) is bool(tests)


def test_the_configured_test_folder_is_taken(folder):
    (folder / "checks").mkdir()
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\ntestpaths = ["checks"]\n')
    init()
    assert "checks/test_goldens.py" in written(folder)


@pytest.mark.parametrize(
    ("files", "python"),
    [
        ({}, "3.13"),
        ({".python-version": "3.12.4\n"}, "3.12"),
        ({"pyproject.toml": '[project]\nname = "a"\nversion = "1"\nrequires-python = ">=3.9"\n'}, "3.11"),
        ({"pyproject.toml": '[project]\nname = "a"\nversion = "1"\nrequires-python = ">=3.12"\n'}, "3.12"),
    ],
)
def test_the_python_is_found_out(folder, files, python):
    for name, text in files.items():
        (folder / name).write_text(text)
    assert seen_in(folder).python == python


def test_the_branch_is_that_of_the_repository(folder):
    repository(folder, "git@github.com:me/bot.git")
    init()
    assert "branches: [trunk]" in (folder / ".github/workflows/aigate.yml").read_text()


def test_a_promptfoo_project_is_told_how_to_import(folder, capsys):
    (folder / "promptfooconfig.yaml").write_text("prompts: []\n")
    init()
    assert "goldens import promptfooconfig.yaml --from promptfoo" in capsys.readouterr().err


def test_templates_are_filled_whole(folder):
    repository(folder, "git@github.com:me/bot.git")
    (folder / "tests").mkdir()
    init()
    init("--ci", "gitlab")
    for name in written(folder):
        assert "@SUITE@" not in (text := (folder / name).read_text()), name
        assert not {"@BRANCH@", "@PYTHON@", "@INSTALL@", "@INSTALL_PROJECT@", "@TESTS@"} & set(text.split())


def test_the_repository_carries_the_action_that_is_written():
    root = Path(__file__).parents[2]
    ours = (root / ".github/actions/aigate/action.yml").read_text()
    assert ours == (root / "src/aigate/templates/action.yml").read_text().replace("@INSTALL@", "this")
