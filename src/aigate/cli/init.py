"""`aigate init`: a golden suite that runs as it is, its first baseline, and a CI workflow. Nothing is written over."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.cli.options import add_command
from aigate.core.counts import count_of

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.cli.project import Project

__all__ = ["add_parser", "run"]

SYSTEMS = ("github", "gitlab", "none")
DEFAULT_SYSTEM = "github"
STARTER = "starter"
TEST = '''"""The golden suite as a test: see `pytest --help` for the --aigate-* options."""

import pytest


@pytest.mark.aigate(suite="{suite}")
def test_golden_suite(aigate):
    aigate.evaluate().gate().raise_for_status()
'''


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "init",
        about="a suite that runs as it is, its first baseline, and a CI workflow; nothing is written over",
        example="aigate init --ci github",
    )
    parser.add_argument("--suite", metavar="FOLDER", help=f"where the suite goes (default goldens/{STARTER})")
    parser.add_argument(
        "--ci", choices=SYSTEMS, help="whose workflow to write; default: what the project and its git remote tell"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Write what is not there yet, run the suite, and make its first baseline."""
    from aigate.cli.project import seen_in

    project = seen_in(context.cwd)
    suite = _suite_name(arguments.suite)
    _refuse_half_a_suite(project.root / suite)
    wanted = _wanted(project, suite, arguments.ci, context)
    written = [path for path, text in wanted.items() if _write(project.root / path, text, arguments.dry_run)]
    for path in wanted:
        print(f"{'wrote' if path in written else 'kept '}  {path}", file=context.stdout)
    if not arguments.dry_run:
        _name_default_suite(project, suite, context)
        if f"{suite}/suite.toml" in written:
            _first_baseline(suite, context)
    _say_next(project, suite, context)
    return 0


def _suite_name(given: str | None) -> str:
    """The suite's folder, as it is written into files: with slashes, below the project.

    Raises:
        UsageError: It lies elsewhere, or cannot stand in a workflow as it is.
    """
    from aigate.errors import UsageError

    name = Path(given or f"goldens/{STARTER}").as_posix()
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*", name):
        raise UsageError(
            f"--suite {given!r}: expected a folder below this one, of letters, digits, '.', '_' and '-'",
            hint="e.g. --suite goldens/support-faq",
        )
    return name


def _refuse_half_a_suite(folder: Path) -> None:
    """The starter's policy fits the starter's samples: beside others it would not run.

    Raises:
        UsageError: Samples are there, and no suite.toml.
    """
    from aigate.errors import UsageError

    samples = folder / "samples.jsonl"
    if samples.exists() and not (folder / "suite.toml").exists():
        hint = "choose another --suite FOLDER, and copy what you need of its suite.toml"
        raise UsageError(f"{samples}: is there without a suite.toml, and nothing is written over", hint=hint)


def _wanted(project: Project, suite: str, asked: str | None, context: Context) -> dict[str, str]:
    """Every file to be there in the end, by its path from the project's folder."""
    found = {f"{suite}/{name}": text for name, text in _starter(files("aigate") / "templates" / "suite")}
    found[".aigate/.gitignore"] = "*\n"
    if project.tests:
        found[f"{project.tests}/test_goldens.py"] = TEST.format(suite=suite)
    system = asked or _system(project, context)
    if system == "github":
        found[".github/workflows/aigate.yml"] = _filled("github.yml", project, suite)
        found[".github/actions/aigate/action.yml"] = _template("action.yml").replace("@INSTALL@", _requirement())
    elif system == "gitlab":
        own = not (project.root / ".gitlab-ci.yml").exists()
        found[".gitlab-ci.yml" if own else ".gitlab/aigate.yml"] = _filled("gitlab.yml", project, suite)
    return found


def _system(project: Project, context: Context) -> str:
    """The CI system to write for; what is not known is said."""
    if project.ci == "jenkins":
        print(
            "note: a Jenkinsfile is there and was left alone. In it: sh 'python -m aigate eval', and in post/always\n"
            "  sh 'python -m aigate report RUN --format junit > junit.xml'; junit 'junit.xml'",
            file=context.stderr,
        )
        return "none"
    if not project.ci:
        told = f"note: no git remote and no CI system is set up: written for {DEFAULT_SYSTEM}; --ci chooses another"
        print(told, file=context.stderr)
    return project.ci or DEFAULT_SYSTEM


def _starter(folder: Traversable, before: str = "") -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _starter(entry, f"{before}{entry.name}/")
        else:
            yield f"{before}{entry.name}", entry.read_text("utf-8")


def _filled(name: str, project: Project, suite: str) -> str:
    """A workflow with what the project told in it."""
    requirement = _requirement()
    install = " && ".join(filter(None, (project.install, f"python -m pip install '{requirement}'")))
    text = _template(name)
    for placeholder, value in {
        "@BRANCH@": project.branch if re.fullmatch(r"[\w./-]+", project.branch) else "main",
        "@PYTHON@": project.python,
        "@INSTALL_PROJECT@": install,
        "@SUITE@": suite,
        "@TESTS@": _tests_step(name, project),
    }.items():
        text = text.replace(placeholder, value)
    return text


def _tests_step(name: str, project: Project) -> str:
    """The step that runs the project's own tests; nothing where it has none. The suite has a stage of its own."""
    if not project.tests:
        return ""
    command = f'python -m pytest {project.tests} -m "not aigate" || test $? -eq 5'  # 5: there are no others yet
    if name == "github.yml":
        return f"      - name: Test\n        run: {command}\n"
    return f"    - {command}\n"


def _template(name: str) -> str:
    return (files("aigate") / "templates" / name).read_text("utf-8")


def _requirement() -> str:
    from aigate.cli.project import requirement_of_aigate

    return requirement_of_aigate()


def _write(path: Path, text: str, dry_run: bool) -> bool:  # noqa: FBT001 - called once, next to the flag
    """Write a file that is not there; False where it is.

    Raises:
        UsageError: A file stands where a folder is needed.
    """
    from aigate.errors import UsageError

    if path.exists() or path.is_symlink():
        return False
    if taken := next((folder for folder in path.parents if folder.is_file()), None):
        raise UsageError(f"{taken}: is a file, expected a folder", hint="move it, or choose another --suite FOLDER")
    if not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return True


def _name_default_suite(project: Project, suite: str, context: Context) -> None:
    """Name the suite in pyproject.toml, behind what stands there, where nothing names one yet."""
    path = project.root / "pyproject.toml"
    table = f'[tool.aigate]\nsuite = "{suite}"\n'
    if not path.exists():
        path.write_text(table, "utf-8")
        print("wrote  pyproject.toml", file=context.stdout)
    elif not project.pyproject:
        print(f"note: pyproject.toml cannot be read and was left alone; add to it:\n{table}", file=context.stderr)
    elif "aigate" not in project.pyproject.get("tool", {}):
        before = path.read_text("utf-8")
        path.write_text(f"{before}{'' if before.endswith(chr(10)) else chr(10)}\n{table}", "utf-8")
        print("added  [tool.aigate] to pyproject.toml", file=context.stdout)


def _first_baseline(suite: str, context: Context) -> None:
    """Run the suite, which needs no key and no network, and make the run its first baseline."""
    from aigate.cli.baseline import promoted
    from aigate.cli.eval import decided, planned
    from aigate.cli.main import parse
    from aigate.cli.options import chosen, without_threshold

    out = context.cwd / ".aigate" / "runs" / Path(suite).name / "first.jsonl"
    arguments = parse(["eval", "--suite", suite, "--out", str(out), "--quiet", "--no-early-stop"])
    evaluation = planned(arguments, _silent(context))
    candidate, _, _ = decided(evaluation, arguments, _silent(context))
    promotion, _ = promoted(candidate, chosen(without_threshold(context), {"suite": suite}), context)
    told = f"{count_of(len(candidate), 'sample')} answered offline by {promotion.version}"
    print(f"ran    {suite}: {told}; now the baseline '{promotion.name}'", file=context.stdout)


def _silent(context: Context) -> Context:
    """The context with nobody to read notes: what a starter cannot see is no news."""
    from dataclasses import replace
    from io import StringIO

    return replace(context, stderr=StringIO())


def _say_next(project: Project, suite: str, context: Context) -> None:
    peers = [name for name in ("promptfooconfig.yaml", "promptfooconfig.yml") if (project.root / name).is_file()]
    steps = [
        "aigate eval                      answer the suite, and decide",
        f"put your own questions into {suite}/samples.jsonl, and your model into {suite}/suite.toml",
        *(f"aigate goldens import {name} --from promptfoo --out goldens/promptfoo" for name in peers),
        "commit what was written: the suite, its baselines, the workflow",
    ]
    for step in steps:
        print(f"next: {step}", file=context.stderr)
