"""A folder with a golden suite, its recorded answers, and pytest run in it."""

import json

import pytest

import aigate.golden_tests.session  # noqa: F401 - numpy cannot be loaded again once a pytest in this process dropped it
from aigate.cli.main import main
from aigate.stats import special

special.load()

TOML = """\
version = "{version}"
provider = "replay"
provider-options = {{ recorded = "answers.jsonl" }}
scorers = ["recorded:correct"]

[policy]
{settings}
checks = [
  {{ check = "min-score", metric = "correct", at-least = 0.5 }},
  {{ check = "no-regression", metric = "correct" }},
  {{ check = "must-pass", tag = "safety", metric = "correct" }},
]
"""
TEST = """\
import pytest

@pytest.mark.aigate(suite="goldens/faq"{marker})
def test_bot(aigate):
    {body}
"""
WITHOUT = [word for name in ("benchmark", "hypothesispytest", "anyio", "xdist") for word in ("-p", f"no:{name}")]
GATED = "aigate.evaluate({answer}).gate().raise_for_status()"


class Suites:
    """Suites under `goldens/`, and a pytest that runs beside them."""

    def __init__(self, pytester, kept) -> None:
        self._pytester, self._kept = pytester, kept
        self.root = pytester.path

    def write(self, name="faq", *, good=60, n=60, version="m/1/v1", settings="", promoted=True, toml=TOML):
        """A suite whose first `good` answers are right; its baseline has all of them right."""
        folder = self.root / "goldens" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "suite.toml").write_text(toml.format(version=version, settings=settings))
        rows = [
            {"id": f"s{i:02}", "input": f"question {i}", "reference": f"answer {i} is right"}
            | ({"tags": ["safety"]} if i in {0, 1, n - 1} else {})
            for i in range(n)
        ]
        (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if promoted:
            self._promoted(folder, (name, n, version, settings, toml), n)
        self.answer(name, good=good, n=n)
        return folder

    def _promoted(self, folder, key, n):
        """The suite's baseline: made once in a session, then copied."""
        if key not in self._kept:
            self.answer(folder.name, good=n, n=n)
            self.promote(folder.name)
            self._kept[key] = {path.name: path.read_bytes() for path in (folder / "baselines").iterdir()}
        (folder / "baselines").mkdir(exist_ok=True)
        for name, content in self._kept[key].items():
            (folder / "baselines" / name).write_bytes(content)

    def answer(self, name="faq", *, good, n=60, wrong="answer {i} is wrong"):
        """Record answers, of which the first `good` are right."""
        rows = [
            {
                "id": f"s{i:02}",
                "output": f"answer {i} is right" if i < good else wrong.format(i=i),
                "scores": {"correct": float(i < good)},
                "latency_s": 0.5 + i / 100,
            }
            for i in range(n)
        ]
        path = self.root / "goldens" / name / "answers.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def promote(self, name="faq", *, baseline="main"):
        """Make the recorded answers a baseline, as the command does."""
        out, suite = self.root / f"{name}-{baseline}.jsonl", self.root / "goldens" / name
        assert main(["eval", "--quiet", "--suite", str(suite), "--out", str(out), "--no-early-stop"]) in {0, 4}
        assert main(["baseline", "promote", str(out), "--suite", str(suite), "--name", baseline]) == 0
        out.unlink()

    def test(self, body=None, *, answer="", marker="", name="test_bot.py"):
        """A test file with one test that gates a suite."""
        (self.root / name).write_text(TEST.format(marker=marker, body=body or GATED.format(answer=answer)))

    def run(self, *arguments, collect=False):
        """Run pytest in this process, without other plugins: hypothesis alone would take seconds at each end."""
        asked = ["goldens", "--aigate-collect"] if collect else []
        return self._pytester.runpytest_inprocess(*WITHOUT, *asked, *map(str, arguments))

    def run_process(self, *arguments):
        """Run pytest in a process of its own."""
        return self._pytester.runpytest_subprocess(*map(str, arguments))


@pytest.fixture(scope="session")
def kept_baselines():
    return {}


@pytest.fixture
def suites(pytester, monkeypatch, capsys, kept_baselines):
    for name in ("CI", "GITHUB_ACTIONS", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    return Suites(pytester, kept_baselines)
