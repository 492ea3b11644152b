"""Who takes part: how each is started, what it reads, where its results stand, how it comes to be installed."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from contest.job import MODEL, Job, Result

SCRIPTS = Path(__file__).with_name("contenders")
OPENAI = "openai==3.54.0"
# ragas 0.4.3 imports a module that langchain-community 0.4.2 dropped, and its instructor holds openai back.
RAGAS_CONSTRAINTS = ("langchain-community==0.4.1", "instructor==1.17.0", "jiter<0.15", "openai==3.3.0")
SUITE = f"""version = "{MODEL}/1/v1"
provider = "openai"
scorers = ["exact_match"]
parameters = {{temperature = 0}}

[policy]
checks = [{{check = "min-score", metric = "exact_match", at-least = 0.5}}]
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """One runner.

    Attributes:
        key: Short and stable.
        title: For the table.
        command: What to start for a job, given the folder of the peers; writes the files that it needs.
        results: What stands in the job's folder afterwards.
        packages: Distributions whose versions are told.
        requires: What is installed for it, with pinned versions; empty: it runs in the benchmark's own environment.
        told: What is particular about its settings.
        starts: Its shortest command, for the start-up table.
    """

    key: str
    title: str
    command: Callable[[Job, Path], list[str | Path]]
    results: Callable[[Path], Iterator[Result]]
    packages: tuple[str, ...]
    requires: tuple[str, ...] = ()
    told: str = ""
    starts: tuple[str, ...] = field(default=())

    @property
    def is_ours(self) -> bool:
        """Whether it is aigate."""
        return self.key.startswith("aigate")

    @property
    def is_peer(self) -> bool:
        """Whether it is another tool, not a loop."""
        return bool(self.requires)


def installed(contender: Contender, peers: Path) -> dict[str, str] | None:
    """The versions of its packages; None where one is missing."""
    if contender.key == "promptfoo":
        found = peers / "promptfoo" / "node_modules" / "promptfoo" / "package.json"
        if not found.exists() or shutil.which("node") is None:
            return None
        return {"promptfoo": json.loads(found.read_text("utf-8"))["version"]}
    python = _python(contender, peers)
    if not Path(python).exists():
        return None
    ask = "import sys, json, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    told = subprocess.run([python, "-c", ask, *contender.packages], capture_output=True, text=True, check=False)
    return json.loads(told.stdout) if told.returncode == 0 else None


def install(contender: Contender, peers: Path) -> str | None:
    """Install it in a folder of its own; what went wrong, or None.

    Only package names are given: where they come from is the machine's setting.
    """
    folder = peers / contender.key
    folder.mkdir(parents=True, exist_ok=True)
    if contender.key == "promptfoo":
        if shutil.which("npm") is None:
            return "npm is not installed"
        quiet = ("--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder))
        return _failure(["npm", "install", *quiet, *contender.requires])
    if failure := _failure([sys.executable, "-m", "venv", str(folder)]):
        return failure
    return _failure([_python(contender, peers), "-m", "pip", "install", "--quiet", "--compile", *contender.requires])


def _failure(command: list[str]) -> str | None:
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if told.returncode == 0 else (told.stderr or told.stdout).strip()[-500:] or f"exit {told.returncode}"


def _python(contender: Contender, peers: Path) -> str:
    return str(peers / contender.key / "bin" / "python") if contender.requires else sys.executable


def _script(name: str) -> Callable[[Job, Path], list[str | Path]]:
    """A script of ours that calls the contender's own API."""

    def command(job: Job, peers: Path) -> list[str | Path]:
        python = _python(CONTENDERS_BY_SCRIPT[name], peers)
        return [python, SCRIPTS / f"{name}.py", job.samples, job.base_url, MODEL, str(job.concurrency)]

    return command


def _aigate(*more: str) -> Callable[[Job, Path], list[str | Path]]:
    """The command line as a user types it."""

    def command(job: Job, _: Path) -> list[str | Path]:
        suite = job.folder / "suite"
        suite.mkdir(exist_ok=True)
        (suite / "suite.toml").write_text(SUITE, encoding="utf-8")
        shutil.copyfile(job.samples, suite / "samples.jsonl")
        where = ("--base-url", job.base_url, "--api-key-env", "", "--model", MODEL, "--option", "stream=false")
        how = ("--concurrency", str(job.concurrency), "--no-early-stop", "--out", "run.jsonl", *more)
        return [sys.executable, "-m", "aigate", "eval", "--suite", "suite", *where, *how]

    return command


def _inspect(job: Job, peers: Path) -> list[str | Path]:
    shutil.copyfile(SCRIPTS / "inspect_task.py", job.folder / "inspect_task.py")  # it takes no absolute path
    shutil.copyfile(job.samples, job.folder / "samples.jsonl")
    count = str(job.concurrency)
    where = ("--model", f"openai/{MODEL}", "--model-base-url", job.base_url, "--temperature", "0")
    how = ("--max-connections", count, "--max-samples", count, "--display", "none", "--no-fail-on-error")
    tuned = ("--no-log-realtime", "--no-score-display", "--log-format", "json", "--log-dir", "logs")
    return [peers / "inspect" / "bin" / "inspect", "eval", "inspect_task.py", *where, *how, *tuned]


def _promptfoo(job: Job, peers: Path) -> list[str | Path]:
    rows = [json.loads(line) for line in job.samples.read_text("utf-8").splitlines()]
    options = {"apiBaseUrl": job.base_url, "apiKey": "none", "temperature": 0}
    config = {
        "prompts": ["{{input}}"],
        "providers": [{"id": f"openai:chat:{MODEL}", "config": options}],
        "tests": [
            {
                "description": row["id"],
                "vars": {"input": row["input"]},
                "assert": [{"type": "equals", "value": row["reference"]}],
            }
            for row in rows
        ],
    }
    (job.folder / "promptfooconfig.json").write_text(json.dumps(config), encoding="utf-8")
    program = peers / "promptfoo" / "node_modules" / ".bin" / "promptfoo"
    how = ("-j", str(job.concurrency), "-o", "results.json", "--no-progress-bar", "--no-table")
    return ["env", f"PROMPTFOO_CONFIG_DIR={job.folder}/state", program, "eval", "-c", "promptfooconfig.json", *how]


def _plain_results(folder: Path) -> Iterator[Result]:
    for row in _rows(folder / "results.jsonl"):
        yield Result(row["id"], row.get("output"), row.get("passed"))


def _aigate_results(folder: Path) -> Iterator[Result]:
    for row in _rows(folder / "run.jsonl"):
        if "id" in row:
            score = row.get("scores", {}).get("exact_match", {}).get("value")
            response = row.get("response") or {}
            yield Result(row["id"], response.get("output"), None if score is None else score == 1.0)


def _inspect_results(folder: Path) -> Iterator[Result]:
    for path in sorted((folder / "logs").glob("*.json"))[-1:]:
        for sample in json.loads(path.read_text("utf-8"))["samples"]:
            score = (sample.get("scores") or {}).get("exact")
            yield Result(sample["id"], score and score["answer"], None if score is None else score["value"] == "C")


def _promptfoo_results(folder: Path) -> Iterator[Result]:
    path = folder / "results.json"
    for row in json.loads(path.read_text("utf-8"))["results"]["results"] if path.exists() else ():
        output = (row.get("response") or {}).get("output")
        yield Result(row["testCase"]["description"], output, row["success"])


def _ragas_results(folder: Path) -> Iterator[Result]:
    path = folder / "experiments" / "run.csv"
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield Result(row["id"], row["output"], float(row["passed"]) == 1.0)


def _rows(path: Path) -> Iterator[dict]:
    """The lines of a file that may not be there, or end in the middle of a line."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue


AIGATE = Contender(
    "aigate",
    "aigate eval",
    _aigate(),
    _aigate_results,
    ("aigate", "httptools"),
    told="the whole command: journal on, run file written, policy decided; `stream = false`",
    starts=(sys.executable, "-m", "aigate", "--help"),
)
AIGATE_SDK = Contender(
    "aigate-sdk",
    "aigate eval over the SDK",
    _aigate("--option", "transport=sdk"),
    _aigate_results,
    ("aigate", "openai"),
    told="`transport = sdk`: what unusual requests go through",
)
BARE_OPENAI = Contender(
    "bare-openai",
    "bare AsyncOpenAI loop",
    _script("bare_openai"),
    _plain_results,
    ("openai",),
    told="semaphore, gather; the SDK's own two retries; keeps nothing before the end",
)
BARE_AIOHTTP = Contender(
    "bare-aiohttp",
    "bare aiohttp loop (floor)",
    _script("bare_aiohttp"),
    _plain_results,
    ("aiohttp",),
    told="no retries; keeps nothing before the end",
)
LANGCHAIN = Contender(
    "langchain",
    "LangChain abatch",
    _script("langchain_abatch"),
    _plain_results,
    ("langchain-openai", "langchain-core", "openai"),
    ("langchain-openai==1.7.3", OPENAI),
    told="`max_concurrency`, `return_exceptions`",
)
RAGAS = Contender(
    "ragas",
    "ragas experiment",
    _script("ragas_experiment"),
    _ragas_results,
    ("ragas", "openai"),
    ("ragas==0.4.3", *RAGAS_CONSTRAINTS),
    told="`@experiment`, ExactMatch, CSV backend, semaphore",
    starts=("ragas/bin/ragas", "--help"),
)
DEEPEVAL = Contender(
    "deepeval",
    "DeepEval",
    _script("deepeval_evaluate"),
    _plain_results,
    ("deepeval", "openai"),
    ("deepeval==4.3.1", OPENAI),
    told="`evaluate`, `max_concurrent`, errors ignored; cache off: with it, its default, time grows as the square",
    starts=("deepeval/bin/deepeval", "--help"),
)
PROMPTFOO = Contender(
    "promptfoo",
    "promptfoo",
    _promptfoo,
    _promptfoo_results,
    ("promptfoo",),
    ("promptfoo@0.121.20",),
    told="`-j`, cache on (its default)",
    starts=("promptfoo/node_modules/.bin/promptfoo", "--version"),
)
INSPECT = Contender(
    "inspect",
    "Inspect (tuned)",
    _inspect,
    _inspect_results,
    ("inspect-ai", "openai"),
    ("inspect-ai==0.3.285", OPENAI),
    told="`--max-connections`, `--max-samples`, no display, no realtime log, JSON log",
    starts=("inspect/bin/inspect", "--help"),
)

CONTENDERS = (AIGATE, AIGATE_SDK, BARE_AIOHTTP, BARE_OPENAI, LANGCHAIN, RAGAS, DEEPEVAL, PROMPTFOO, INSPECT)
CONTENDERS_BY_SCRIPT = {
    "bare_openai": BARE_OPENAI,
    "bare_aiohttp": BARE_AIOHTTP,
    "langchain_abatch": LANGCHAIN,
    "ragas_experiment": RAGAS,
    "deepeval_evaluate": DEEPEVAL,
}
