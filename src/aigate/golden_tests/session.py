"""One session of pytest in which golden suites are tests: hooks that the plugin registers once it is asked.

Verdicts travel with test reports, so that with pytest-xdist the controller knows them too: it looks for orphaned
baselines, writes the JSON file and prints the summary.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from aigate.errors import AigateError
from aigate.files import write_atomically
from aigate.golden_tests.asked import MARKER, asked_of
from aigate.golden_tests.benchmarks import LatencyItem
from aigate.golden_tests.fixture import Evaluated, GoldenTest
from aigate.golden_tests.judging import Judgement, SharedJudgements, suite_judgement
from aigate.golden_tests.orphans import Orphan, find_orphans
from aigate.golden_tests.suite_file import SuiteFile, SuiteItem, properties_of
from aigate.goldens.suite import CONFIG_FILE
from aigate.reports.text import printable

__all__ = ["GoldenSession"]

JSON_FORMAT = "aigate.pytest/1"
SHARED = "aigate_shared"
OURS = Path(__file__).resolve().parents[1]

Record = Mapping[str, Any]
_GOLDEN = pytest.StashKey[GoldenTest]()


class GoldenSession:
    """The plugin's working part.

    Args:
        config: pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config, self._asked = config, asked_of(config)
        workerinput: Mapping[str, Any] | None = getattr(config, "workerinput", None)
        self._is_worker = workerinput is not None
        shared = None if workerinput is None else workerinput.get(SHARED)
        self._judgements = SharedJudgements(None if shared is None else Path(shared))
        self._made_folder: Path | None = None
        self._recorded: set[Path] = set()
        self._records: dict[str, Record] = {}
        self._orphans: tuple[Orphan, ...] = ()
        self._deselected = False

    @contextmanager
    def golden_test(self, request: pytest.FixtureRequest) -> Iterator[GoldenTest]:
        """What a test gets as its fixture.

        Raises:
            ConfigError: The test's marker is missing or wrong.
        """
        golden = GoldenTest(request, self._asked)
        request.node.stash[_GOLDEN] = golden
        yield golden

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """A suite among the collected folders, where that was asked for."""
        if not self._asked.collect or file_path.name != CONFIG_FILE:
            return None
        file: pytest.Collector = SuiteFile.from_parent(parent, path=file_path, asked=self._asked, ask=self._judgement)
        return file

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """A part of the tests uses a part of the baselines: then none is an orphan."""
        self._deselected = self._deselected or bool(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """pytest-xdist: tell a worker where workers leave verdicts for one another."""
        if self._made_folder is None:
            self._made_folder = Path(tempfile.mkdtemp(prefix="aigate-pytest-"))
        node.workerinput[SHARED] = str(self._made_folder)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Properties and verdicts go with the report; our own frames do not."""
        _leave_ours_out(call.excinfo)
        golden = item.stash.get(_GOLDEN, None)
        if call.when == "call" and golden is not None:
            item.user_properties.extend(_properties(golden.evaluations))
        report = yield
        if isinstance(item, SuiteItem):
            self._add_suite(item, report)
        elif _is_ours(item):
            _say_what_is_wrong(golden, call.excinfo, report)
            if golden is not None and report.when == "call":
                self._add_test(item, golden, report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of verdicts, wherever the test ran."""
        for record in getattr(report, "aigate", ()):
            self._records.setdefault(record["key"], record)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Look for orphans, and write the JSON file."""
        if self._is_worker:
            return
        if self._is_whole(session):
            used = [(Path(record["suite"]), record["baselines"]) for record in self._records.values()]
            self._orphans = find_orphans(used)
        if self._orphans and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._asked.json is not None:
            write_atomically(self._asked.json, self._document().encode())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line per verdict, and what is wrong with baselines."""
        lines = list(self._summary(verbose=self._config.get_verbosity() > 0))
        if lines:
            terminalreporter.section("aigate", sep="-")
        for line in lines:
            terminalreporter.write_line(line)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """pytest-benchmark: its JSON file carries the verdicts too."""
        output_json["aigate"] = json.loads(self._document())

    def pytest_unconfigure(self) -> None:
        """Remove what was only for the workers."""
        if self._made_folder is not None:
            shutil.rmtree(self._made_folder, ignore_errors=True)

    def _judgement(self, folder: Path) -> Judgement:
        return self._judgements.of(folder, lambda: suite_judgement(folder, self._asked))

    def _add_suite(self, item: SuiteItem, report: pytest.TestReport) -> None:
        """The suite's verdict travels with the first report of its tests in this process."""
        folder = item.parent.folder
        if report.when == "call" and folder not in self._recorded and self._judgements.knows(folder):
            self._recorded.add(folder)
            _attach(report, [self._record(item.parent.nodeid, self._judgement(folder))])

    def _add_test(self, item: pytest.Item, golden: GoldenTest, report: pytest.TestReport) -> None:
        numbered = enumerate(golden.evaluations, start=1)
        judged = ((f"{item.nodeid}#{n}", evaluated.judgement) for n, evaluated in numbered)
        _attach(report, [self._record(key, judgement) for key, judgement in judged if judgement is not None])

    def _record(self, key: str, judgement: Judgement) -> Record:
        return {
            "key": key,
            "suite": judgement.suite,
            "run": judgement.run,
            "baselines": list(judgement.baselines),
            "promotion": judgement.promotion,
            "refused": judgement.refused,
            "said": judgement.said,
            "verdict": judgement.verdict.to_dict(),
        }

    def _is_whole(self, session: pytest.Session) -> bool:
        """True where everything that could use a baseline had its turn."""
        option = session.config.option
        narrowed = (
            *(getattr(option, name, None) for name in ("keyword", "markexpr", "lf", "last_failed", "deselect")),
            *(getattr(option, name, None) for name in ("collectonly", "stepwise", "ignore", "ignore_glob")),
            *(session.shouldstop, session.shouldfail, self._deselected),
        )
        folders = all(Path(session.config.invocation_params.dir, argument).is_dir() for argument in session.config.args)
        ran = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        return folders and ran and not any(narrowed)

    def _document(self) -> str:
        """Every verdict, and the orphans, as JSON."""
        verdicts = [
            {
                "test": key.partition("#")[0],
                "suite": self._relative(record["suite"]),
                "run": self._relative(record["run"]),
                "promotion": record["promotion"],
                "verdict": record["verdict"],
            }
            for key, record in sorted(self._records.items())
        ]
        orphans = [{"baseline": self._relative(orphan.path), "why": orphan.why} for orphan in self._orphans]
        return json.dumps({"format": JSON_FORMAT, "verdicts": verdicts, "orphans": orphans}, indent=2) + "\n"

    def _summary(self, *, verbose: bool) -> Iterator[str]:
        for record in self._records.values():
            verdict = record["verdict"]
            against = f" against {verdict['baseline']}" if verdict["baseline"] else ""
            told = f"{self._relative(record['suite'])}: {verdict['status'].upper()}  {verdict['candidate']}{against}"
            yield printable(f"{told}  (run: {self._relative(record['run'])})")
            if record["promotion"]:
                became = "not the baseline: " if record["refused"] else "now the baseline "
                yield printable(f"  {became}{record['promotion']}")
            if verbose:
                yield from (f"  {printable(line)}" for line in record["said"].splitlines())
        for orphan in self._orphans:
            yield printable(f"orphaned baseline: {self._relative(orphan.path)}: {orphan.why}")
            yield f"  next: {orphan.hint}"
        if not self._records and not self._is_worker and self._was_asked():
            yield "no suite was evaluated"

    def _was_asked(self) -> bool:
        """True where a flag asks for verdicts, and none came is worth a word."""
        asked = self._asked
        return any((asked.update_baseline, asked.baseline, asked.threshold, asked.json))

    def _relative(self, path: str | Path) -> str:
        """A path from pytest's root folder, where it lies in it."""
        inside = Path(path).is_relative_to(self._asked.root)
        return str(Path(path).relative_to(self._asked.root) if inside else path)


def _is_ours(item: pytest.Item) -> bool:
    """True for a test with the marker or the fixture; not for the one of latencies, which inherits a suite's marker."""
    named = item.get_closest_marker(MARKER) is not None or MARKER in getattr(item, "fixturenames", ())
    return named and not isinstance(item, LatencyItem)


def _attach(report: pytest.TestReport, records: Sequence[Record]) -> None:
    """Reports carry further attributes, as plain JSON, from pytest-xdist's workers too."""
    vars(report)["aigate"] = records


def _properties(evaluations: Iterable[Evaluated]) -> Iterator[tuple[str, object]]:
    """The statistics of a test's verdicts, for JUnit files."""
    for evaluated in evaluations:
        judgement = evaluated.judgement
        if judgement is None:
            continue
        yield "aigate.status", str(judgement.verdict.status)
        yield "aigate.version", judgement.verdict.candidate
        yield "aigate.baseline", judgement.verdict.baseline or "none"
        yield from properties_of(judgement, range(len(judgement.verdict.checks)))


def _say_what_is_wrong(
    golden: GoldenTest | None, excinfo: pytest.ExceptionInfo[BaseException] | None, report: pytest.TestReport
) -> None:
    """Messages instead of tracebacks, evidence under a failure, and no pass for a test that has tested nothing."""
    if report.when == "setup" and excinfo is not None and isinstance(excinfo.value, AigateError):
        report.longrepr = printable(str(excinfo.value))
    if report.when != "call":
        return
    if report.passed and not hasattr(report, "wasxfail"):
        why = "the test is marked with aigate and does not take the fixture 'aigate'"
        if unfinished := golden.unfinished() if golden is not None else why:
            report.outcome, report.longrepr = "failed", printable(unfinished)
    if report.failed and golden is not None:
        told = "\n\n".join(filter(None, (evaluated.told() for evaluated in golden.evaluations if not evaluated.passed)))
        report.sections += [("aigate", told)] if told else []


def _leave_ours_out(excinfo: pytest.ExceptionInfo[BaseException] | None) -> None:
    """Of an error that aigate raised on purpose, only the frames of the test are of interest."""
    if excinfo is None or not isinstance(excinfo.value, AigateError):
        return
    excinfo.value.__cause__, excinfo.value.__suppress_context__ = None, True
    last: TracebackType | None = None
    entry: TracebackType | None = excinfo.tb
    while entry is not None:
        last = last if Path(entry.tb_frame.f_code.co_filename).is_relative_to(OURS) else entry
        entry = entry.tb_next
    if last is not None:
        last.tb_next = None
