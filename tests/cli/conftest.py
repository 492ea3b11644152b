"""A suite in a folder, and the command line run in this process."""

import json
from pathlib import Path

import pytest

from aigate.cli.main import main

TOML = """\
version = "m/1/v1"
provider = "replay"
scorers = ["recorded:correct", "shape"]
primary-metric = "correct"

[policy]
checks = [
  { check = "min-score", metric = "correct", at-least = 0.5 },
  { check = "no-regression", metric = "correct" },
]
"""


class Workplace:
    """A folder with one suite, recordings beside it, and a command line."""

    def __init__(self, folder: Path, capsys) -> None:
        self.folder = folder
        self.suite = folder / "goldens" / "faq"
        self._capsys = capsys
        self.write_suite()

    def write_suite(self, n=100, toml=TOML, samples=None):
        self.suite.mkdir(parents=True, exist_ok=True)
        (self.suite / "suite.toml").write_text(toml)
        rows = samples or [
            {"id": f"s{i:03}", "input": f"question {i}", "tags": ["even" if i % 2 == 0 else "odd"]} for i in range(n)
        ]
        (self.suite / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def record(self, name, good, n=100, text="answer {i} of {name}", **fields):
        rows = [
            {"id": f"s{i:03}", "output": text.format(i=i, name=name), "scores": {"correct": float(i < good)}, **fields}
            for i in range(n)
        ]
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def run(self, *arguments):
        """Exit code, standard output, standard error (folded to one line, since the terminal wraps)."""
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        out, err = self._capsys.readouterr()
        return code, out, " ".join(err.split())

    def eval(self, recorded, *more, out=None):
        out = out or self.folder / "runs" / f"{recorded.stem}.jsonl"
        return *self.run("eval", "--suite", self.suite, "--recorded", recorded, "--out", out, *more), out


@pytest.fixture
def place(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Workplace(tmp_path, capsys)
