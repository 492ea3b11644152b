"""The README is a part of the program: its commands run, its code runs, its tables are those of the code."""

import asyncio
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path

import pytest

import aigate
from aigate.cli import main as cli
from aigate.core.verdict import Status
from aigate.errors import UsageError
from aigate.gating.checks.base import CHECKS
from aigate.gating.integrity import INTEGRITY
from aigate.gating.policy import Policy
from aigate.gating.reasons import REASONS
from aigate.gating.run_metrics import run_metric_names
from aigate.goldens.config import DEFAULTS, RULES
from aigate.goldens.samples import SAMPLE_FIELDS, load_samples
from aigate.goldens.suite import load_suite
from aigate.providers.base import PROVIDERS
from aigate.providers.replay import load_recorded
from aigate.running.judges import scorers_of
from aigate.scorers.base import SCORERS
from aigate.testing import LoopbackServer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # the text as its publisher has it
PYTHON = ".venv/bin/python"
EXIT = re.compile(r"\s+# exit (\d+)$")


def _reader():
    spec = importlib.util.spec_from_file_location("readme", ROOT / ".ci" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["readme"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


readme = _reader()
BLOCKS = readme.blocks(README)
COMMANDS = [
    line for block in BLOCKS if block.language == "sh" and block.name != "tests" for line in block.text.splitlines()
]
RUN = [line for line in COMMANDS if EXIT.search(line)]


@dataclass(frozen=True)
class Ran:
    """What one command of the README did."""

    code: int
    output: str


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The suites in a folder of their own, so that no run or promotion touches the repository's."""
    folder = tmp_path_factory.mktemp("readme") / "clone"
    shutil.copytree(ROOT / "goldens", folder / "goldens")
    shutil.copy(ROOT / "pyproject.toml", folder)
    assert (folder / "goldens/handbook-qa/baselines/main.jsonl").is_file(), "the default suite has no baseline"
    return folder


@pytest.fixture(scope="module")
def ran(clone):
    """Every command that names its exit code, run in the README's order: later ones use the files of earlier ones."""
    return {line: _shell(line, clone) for line in RUN}


@pytest.fixture(scope="module")
def main_job(clone):
    """The README's first command, after its installation."""
    return _shell(readme.named("main-job").text.split("&&")[-1].strip().replace(PYTHON, sys.executable), clone)


def _shell(line, folder, **environ):
    command = re.sub(r"^aigate\b", f"{shlex.quote(sys.executable)} -m aigate", line)
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=_environ(**environ), capture_output=True, text=True, timeout=300
    )
    return Ran(done.returncode, done.stdout + done.stderr)


def _python(code, folder, *arguments):
    path = folder / "from_readme.py"
    path.write_text(code, "utf-8")
    return subprocess.run(
        [sys.executable, *arguments, path.name], cwd=folder, env=_environ(), capture_output=True, text=True, timeout=300
    )


def _environ(**more):
    ours = {
        k: v for k, v in os.environ.items() if not k.startswith(("AIGATE_", "OPENAI_", "PYTEST_")) and k != "COLUMNS"
    }
    return {**ours, **more}


def _words(line):
    """A command of ours as the parser gets it: without comment, redirection, or what stands before it."""
    words = shlex.split(line.split("&&")[-1], comments=True)
    start = next(number for number, word in enumerate(words) if word == "aigate")
    words = words[start + 1 :]
    return words[: words.index(">")] if ">" in words else words


def _rows(first_heading):
    """The rows of the table whose first column has that heading, as lists of cells."""
    lines = iter(README.splitlines())
    next(line for line in lines if line.startswith(f"| {first_heading} |"))
    next(lines)
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def _code(text):
    return re.findall(r"`([^`]+)`", text)


def _parsers(parser=None):
    """Every parser of the command line, by the words that lead to it."""
    parser = parser or cli._parser()
    found = {parser.prog.removeprefix("aigate").strip(): parser}
    for action in parser._actions:
        for child in (action.choices or {}).values() if hasattr(action, "_name_parser_map") else ():
            found |= _parsers(child)
    return found


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [line for line in COMMANDS if "aigate" in line])
def test_command_is_accepted_by_the_command_line(line):
    parsed = cli._parser().parse_args(_words(line))
    assert callable(parsed.run)


def test_the_parser_used_here_refuses_what_does_not_exist(capsys):
    with pytest.raises(SystemExit) as refused:
        cli._parser().parse_args(_words("aigate eval --no-such-flag 1   # exit 0"))
    assert refused.value.code == 2
    assert "--no-such-flag" in capsys.readouterr().err


def test_commands_and_flags_in_the_prose_exist():
    parsers = _parsers()
    assert "goldens check" in parsers
    flags = {option for parser in parsers.values() for action in parser._actions for option in action.option_strings}
    flags |= set(re.findall(r'"(--aigate-[a-z-]+)"', Path(aigate.__file__).with_name("pytest_plugin.py").read_text()))
    spans = _code(re.sub(r"```.*?```", "", README, flags=re.DOTALL))
    named = [span.removeprefix("aigate ").split(" --")[0] for span in spans if span.startswith("aigate ")]
    assert {name for name in named if name not in parsers} == set()
    assert {word for span in spans for word in span.split() if word.startswith("--") and word not in flags} == set()
    assert len(named) >= 4


@pytest.mark.parametrize("line", RUN)
def test_command_exits_as_the_readme_says(ran, line):
    assert ran[line].code == int(EXIT.search(line).group(1)), ran[line].output


def test_documents_are_written_where_the_readme_says(clone, ran):
    assert (clone / "verdict.md").read_text("utf-8").strip()
    assert json.loads((clone / "verdict.json").read_text("utf-8"))["status"] == "pass"


def test_main_job_passes(main_job):
    assert main_job.code == 0, main_job.output


def test_main_job_prints_what_the_readme_shows(main_job):
    shown = _deterministic(readme.named("main-job-output").text)
    printed = _deterministic(main_job.output)
    place = 0
    for part in shown.split(" … "):
        found = printed.find(part, place)
        assert found >= 0, f"the README shows\n{part}\n\nthe program prints\n{main_job.output}"
        place = found + len(part)


def test_readme_shows_the_verdict_and_every_check_of_the_policy(clone):
    shown = readme.named("main-job-output").text
    policy = load_suite(clone / "goldens/handbook-qa").config.policy
    assert re.search(r"^PASS  \S+/v3 against \S+/v3$", shown, re.MULTILINE)
    assert all(re.search(rf"^✓ +{check['check']}\b", shown, re.MULTILINE) for check in policy["checks"])


def _deterministic(text):
    """Without what differs between two runs: the time taken, the last digits of a drawn interval, line breaks."""
    text = re.sub(r"answered in [\d.]+ s", "answered in … s", text).replace("in … s", "in some s")
    text = " ".join(text.split())
    return re.sub(r"interval [-+\d.]+ to [-+\d.]+", "interval", text)


def test_tests_are_run_by_pytest_after_installing_the_test_extra():
    steps = [step.strip() for step in readme.named("tests").text.split("&&")]
    first = [step.strip() for step in readme.named("main-job").text.split("&&")]
    assert steps == [first[0], ".venv/bin/pip install -q '.[test]'", f"{PYTHON} -m pytest -n auto"]
    assert first[:2] == ["python3 -m venv .venv", ".venv/bin/pip install -q ."]


def test_openai_commands_ask_for_the_model_that_the_readme_names(clone):
    export, command = readme.named("openai").text.splitlines()
    assert export.startswith("export OPENAI_API_KEY=")
    with LoopbackServer(api_key="key") as server:
        environ = {"OPENAI_API_KEY": "key", "AIGATE_BASE_URL": server.base_url, "AIGATE_OUT_DIR": "openai-runs"}
        answered = _shell(command, clone, **environ)
    assert {request.body["model"] for request in server.requests} == {"gpt-4o-2024-11-20"}
    assert "204 scored" in answered.output, answered.output
    assert answered.code == 1  # the server says the prompt back


def test_a_compatible_endpoint_is_asked_without_a_key(clone):
    line = next(line for line in COMMANDS if "localhost" in line)
    with LoopbackServer() as server:
        command = line.replace("http://localhost:11434/v1", server.base_url)
        answered = _shell(command, clone, OPENAI_API_KEY="secret", AIGATE_OUT_DIR="compatible-runs")
    assert {request.body["model"] for request in server.requests} == {"qwen3:8b"}
    assert len(server.requests) == 204, answered.output


# --- code -------------------------------------------------------------------------------------------------------------


def test_python_test_fails_for_a_bot_that_is_worse(clone, ran):
    done = _python(readme.named("test").text, clone, "-m", "pytest", "-p", "no:cacheprovider")
    assert done.returncode == 1, done.stdout
    assert "GateFailed" in done.stdout


def test_python_test_passes_for_the_version_of_the_suite(clone, ran):
    code = readme.named("test").text
    same = code.replace(', provider=answer, version="our-bot/2025-06/v3"', "")
    assert same != code
    done = _python(same, clone, "-m", "pytest", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout


def test_tool_accepts_a_passing_run(clone, ran):
    done = _python(readme.named("tool").text, clone)
    assert done.returncode == 0, done.stderr


def test_tool_says_why_it_refuses_a_worse_run(clone, ran):
    worse = readme.named("tool").text.replace("candidate.jsonl", ".aigate/runs/handbook-qa/extractive_tfidf-1_v2.jsonl")
    done = _python(worse, clone)
    assert done.returncode == 1
    assert "below the threshold 0.85" in done.stderr


def test_notebook_code_runs_inside_a_running_event_loop(clone, monkeypatch):
    monkeypatch.chdir(clone)
    names, printed = {}, io.StringIO()

    async def cell():
        exec(compile(readme.named("notebook").text, "README.md", "exec"), names)  # noqa: S102 - our own README

    with redirect_stdout(printed):
        asyncio.run(cell())
    told = r"against extractive/tfidf-1/v2:.*extractive/tfidf-1/v3  includes  0\.\d+ → 0\.\d+ \(\+\d.*interval"
    assert re.search(told, printed.getvalue(), re.DOTALL)
    versions = names["versions"]
    assert {"includes", "token_f1"} <= set(versions.to_frame()["metric"])
    assert all(row["candidate_score"] < row["baseline_score"] for row in versions.worst(10))


def test_pytest_plugin_gates_the_suite(clone, ran):
    done = _python(readme.named("plugin").text, clone, "-m", "pytest", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "goldens/handbook-qa: PASS" in done.stdout


def test_every_python_block_is_tested():
    assert {block.name for block in BLOCKS if block.language == "python"} == {"test", "plugin", "tool", "notebook"}


# --- files ------------------------------------------------------------------------------------------------------------


def test_recorded_answer_is_read(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(readme.named("recorded").text, "utf-8")
    response = load_recorded(path).answers[("returns-001", 0)]
    assert (response.output, response.served_model) == ("Within 45 days.", "gpt-4o-2024-11-20")


def test_sample_is_read(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text(readme.named("sample").text, "utf-8")
    [sample] = load_samples(path)
    assert sample.id == "returns-001"
    assert set(json.loads(readme.named("sample").text)) <= set(SAMPLE_FIELDS)


def test_suite_toml_is_a_policy_that_the_default_suite_could_have(clone, tmp_path):
    folder = tmp_path / "suite"
    shutil.copytree(clone / "goldens/handbook-qa", folder)
    (folder / "suite.toml").write_text(readme.named("suite").text, "utf-8")
    suite = load_suite(folder)
    scorers = scorers_of(suite)
    policy = Policy.from_config(suite.config.policy)
    policy.require_metrics([s.spec.metric for s in scorers], run_metric_names(scorers), suite.tags, where="README.md")
    assert {check.name for check in policy.checks} == set(CHECKS.built_in)
    assert "reference" not in suite.prompt_for(suite.config.version).body


def test_files_of_the_default_suite_are_those_shown():
    shown = next(block.text for block in BLOCKS if block.text.startswith("goldens/handbook-qa/"))
    names = [line.split()[0] for line in shown.splitlines()[1:]]
    optional = {"contract.json"}
    assert [name for name in names if not (ROOT / "goldens/handbook-qa" / name).is_file()] in ([], sorted(optional))


# --- tables -----------------------------------------------------------------------------------------------------------


def test_keys_of_suite_toml_are_those_of_the_code():
    keys = [key for row in _rows("key of suite.toml") for key in _code(row[0])]
    assert sorted(keys) == sorted(["version", *RULES])


def test_defaults_are_those_of_the_code():
    shown = {}
    for row in _rows("key of suite.toml"):
        shown |= dict(zip(_code(row[0]), _code(row[1]), strict=False))
    [scorer] = DEFAULTS["scorers"]
    seconds = {f"{key}-s": f"{DEFAULTS[f'{key}_s'.replace('-', '_')]:g}" for key in ("timeout", "sample-deadline")}
    written = {**seconds, "scorers": str(scorer), "early-stop": "true"}
    assert DEFAULTS["early_stop"] is True
    real = {k.replace("_", "-"): written.get(k.replace("_", "-"), str(v)) for k, v in DEFAULTS.items()}
    assert shown == real


def test_defaults_of_a_policy_are_those_of_the_code():
    [cell] = [row[2] for row in _rows("key of suite.toml") if row[0] == "`policy`"]
    shown = {key: tomllib.loads(f"x = {value}")["x"] for key, value in re.findall(r"`([a-z-]+)` ([\d.]+|false)", cell)}
    lists = {"checks", "accept_weak_judge"}
    assert shown == {f.name.replace("_", "-"): f.default for f in fields(Policy) if f.name not in lists}


def test_scorers_are_those_of_the_code():
    [cell] = [row[2] for row in _rows("key of suite.toml") if row[0] == "`scorers`"]
    assert sorted(name.partition(":")[0] for name in _code(cell)) == sorted(SCORERS.built_in)


def test_providers_are_those_of_the_code():
    rows = _rows("provider")
    assert sorted(name for row in rows for name in _code(row[0])) == sorted(PROVIDERS.built_in)
    [default] = [_code(row[0])[0] for row in rows if "(default)" in row[0]]
    assert default == DEFAULTS["provider"]


def test_checks_and_their_options_are_those_of_the_code():
    shown = {_code(row[0])[0]: _code(row[1]) for row in _rows("check")}
    real = {name: [f.name.replace("_", "-") for f in fields(CHECKS.factory(name))] for name in CHECKS.built_in}
    assert shown == real


def test_rules_that_always_hold_are_those_of_the_code():
    [text] = re.findall(r"rules always hold:\n(.*?)\.", README, re.DOTALL)
    assert sorted(_code(text)) == sorted(rule.__name__.replace("_", "-") for rule in INTEGRITY)


def test_reason_codes_exist():
    [text] = re.findall(r"stable\ncodes, such as (.*?)\.", README, re.DOTALL)
    codes = [*_code(text), *re.findall(r"\(`([a-z-]+)`\)", README)]
    assert len(codes) >= 6
    assert [code for code in codes if code not in REASONS] == []


def test_exit_codes_are_those_of_the_code():
    shown = {int(row[0]): "".join(_code(row[1])) for row in _rows("exit code")}
    real = {status.exit_code: str(status) for status in Status}
    assert shown == {**real, UsageError.exit_code: "", cli.INTERRUPTED: ""}


def test_extras_are_those_of_the_project():
    extras = [name for row in _rows("extra") for name in _code(row[0])]
    assert sorted(extras) == sorted(PROJECT["optional-dependencies"])


def test_what_is_not_there_yet_is_not_there():
    commands = set(cli.COMMANDS)
    assert commands.isdisjoint({"attest", "build", "rollout", "watch", "promote", "shadow", "alerts", "serve"})
    assert importlib.util.find_spec("aigate.delivery") is None


# --- the documents beside it ------------------------------------------------------------------------------------------


def test_version_is_the_same_everywhere():
    assert PROJECT["version"] == aigate.__version__


def test_changelog_tells_what_is_not_released_yet():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    [unreleased] = re.findall(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert re.search(r"^### (Added|Changed|Fixed|Removed)\n\n- \S", unreleased, re.MULTILINE)
    named = set(_code(unreleased))
    missing = {*SCORERS.built_in, *PROVIDERS.built_in, *CHECKS.built_in} - named
    assert missing == set()


def test_license_is_the_whole_text_of_apache_2():
    assert sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert PROJECT["license"] == "Apache-2.0"


def test_files_that_the_readme_links_to_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert {"CHANGELOG.md", "LICENSE"} <= set(links)
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


# --- reading blocks ---------------------------------------------------------------------------------------------------


def test_a_block_that_is_never_closed_is_named_by_its_line():
    with pytest.raises(ValueError, match="line 2: this code block is never closed"):
        readme.blocks("text\n```sh main-job\necho\n")


def test_a_fence_with_more_behind_it_does_not_close_a_block():
    [block] = readme.blocks("```text\n```not the end\n```\n")
    assert block.text == "```not the end\n"


@pytest.mark.parametrize("text", ["", "```sh a\n```\n```sh a\n```\n"])
def test_a_block_that_is_missing_or_there_twice_is_refused(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text, "utf-8")
    with pytest.raises(LookupError, match="blocks are named 'a', expected one"):
        readme.named("a", readme=path)


def test_the_reader_prints_a_block_as_the_readme_has_it():
    printed = subprocess.run(
        [sys.executable, ROOT / ".ci/readme.py", "tests"], capture_output=True, text=True, timeout=60
    )
    assert printed.stdout == readme.named("tests").text
    unknown = subprocess.run(
        [sys.executable, ROOT / ".ci/readme.py", "nope"], capture_output=True, text=True, timeout=60
    )
    assert unknown.returncode == 2
    assert "main-job" in unknown.stderr
