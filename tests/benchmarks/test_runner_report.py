"""Targets are met, missed or not measured; what was not run is said, and a miss ends with exit code 1."""

import json

import pytest

import runner
from contest import report
from contest.entries import AIGATE, BARE_OPENAI, CONTENDERS, INSPECT, PROMPTFOO, installed
from contest.scenarios import FULL, QUICK, units
from contest.targets import Rows, Target, targets

ROW = {
    "kind": "2000-32",
    "contender": "aigate",
    "busy": 0.01,
    "wall_s": 6.6,
    "cpu_s": 1.0,
    "peak_mb": 80.0,
    "code": 0,
    "timed_out": False,
    "efficiency": 0.95,
    "span_efficiency": 0.97,
    "cpu_ms_per_sample": 0.5,
    "verdict_s": 0.2,
    "finished": 2000,
    "lost": 0,
    "wrong": 0,
    "requests": 2000,
    "answered_again": 0,
    "peak_in_flight": 32,
}


def row(**more):
    return {**ROW, **more}


def status_of(text, *rows):
    return next(target.status for target in targets(Rows(rows)) if text in target.text)


def document(*rows, mode="full"):
    machine = {"python": "3", "system": "x", "cores": 2, "load": 0.1}
    versions = {"aigate": "aigate 1", "inspect": "**not installed** (`--install`): no rows"}
    known = {"mode": mode, "date": "2026-11-24", "machine": machine, "repeats": 1, "minutes": 1.0}
    return {**known, "versions": versions, "rows": list(rows)}


@pytest.mark.parametrize(
    ("value", "limit", "at_most", "status"),
    [
        (0.9, 0.9, False, "met"),
        (0.89, 0.9, False, "missed"),
        (0, 0, True, "met"),
        (1, 0, True, "missed"),
        (None, 1, True, "not measured"),
        (1, None, True, "not measured"),
        (float("nan"), 1, True, "missed"),
    ],
)
def test_a_target_is_met_missed_or_not_measured(value, limit, at_most, status):
    assert Target("x", value, limit, at_most=at_most).status == status


def test_the_median_of_the_repeats_counts_for_speed_and_the_worst_for_safety():
    rows = [row(efficiency=value, lost=lost) for value, lost in ((0.5, 0), (0.91, 1), (0.95, 0))]
    assert status_of("efficiency, 2,000 at concurrency 32", *rows) == "met"
    assert status_of("samples lost, 2000-32", *rows) == "missed"


def test_the_best_peer_is_one_that_lost_nothing():
    fast, whole = row(contender="promptfoo", efficiency=0.99, lost=3), row(contender="inspect", efficiency=0.7)
    assert status_of("ahead of the best peer's, 2000-32", ROW, whole, fast) == "met"
    assert status_of("ahead of the best peer's, 2000-32", ROW, {**fast, "lost": 0}) == "missed"


def test_the_bare_loop_is_no_peer():
    bare = row(contender="bare-openai", efficiency=0.99)
    assert status_of("ahead of the best peer's, 2000-32", ROW, bare) == "not measured"
    assert status_of("ahead of the bare AsyncOpenAI loop's, 2000-32", ROW, bare) == "missed"


def test_what_was_asked_twice_after_a_kill_is_held_against_what_was_in_flight():
    killed = {"kind": "killed", "contender": "aigate", "concurrency": 32, "lost": 0, "wrong": 0, "asked_again": 32}
    assert status_of("after kill -9", killed) == "met"
    assert status_of("after kill -9", {**killed, "asked_again": 33}) == "missed"


def test_requests_under_faults_are_held_against_the_samples():
    assert status_of("requests per sample", row(kind="faults-light", requests=2200)) == "met"
    assert status_of("requests per sample", row(kind="faults-light", requests=2201)) == "missed"


def test_a_full_run_that_did_not_measure_a_target_is_no_success():
    assert not report.nothing_missed(document(ROW))


def test_a_run_without_rows_is_no_success():
    assert not report.nothing_missed(document(mode="quick"))


def test_the_quick_mode_judges_safety_and_no_timing():
    slow = row(kind="plain", efficiency=0.01, verdict_s=9.0)
    assert report.nothing_missed(document(slow, mode="quick"))
    assert not report.nothing_missed(document({**slow, "wrong": 1}, mode="quick"))
    assert not report.nothing_missed(document({**slow, "answered_again": 1}, mode="quick"))


def test_the_page_names_who_did_not_take_part_and_what_was_stopped():
    page = report.markdown(document(ROW, row(contender="deepeval", timed_out=True, lost=3)), FULL)
    assert "| Inspect (tuned) | **not installed** (`--install`): no rows |" in page
    assert "3 (stopped: took too long)" in page
    assert "**NOT MEASURED**" in page
    assert "The machine was\nidle" in page


def test_a_busy_machine_is_said():
    page = report.markdown(document(row(busy=0.4)), FULL)
    assert "The machine was\n**not idle**" in page
    assert "at most 40 % of the cores" in page


def test_ratios_stand_beside_every_runner():
    bare, peer = row(contender="bare-openai", efficiency=0.84), row(contender="inspect", efficiency=0.19)
    page = report.markdown(document(ROW, bare, peer), FULL)
    assert "| aigate eval | 6.60 | 0.95 | 0.97 | 5.00 | 1.13 | 0.50 | 80 | 1.000 | 0 | 32 | 0 | 0 | 1 |" in page


def test_every_second_repeat_runs_in_the_opposite_order():
    keys = [unit.key for unit in units(FULL, (AIGATE, BARE_OPENAI), repeats=2)][:4]
    assert keys == [f"2000-32: {name}" for name in ("aigate 0", "bare-openai 0", "bare-openai 1", "aigate 1")]


def test_slow_peers_run_the_long_race_once():
    keys = [unit.key for unit in units(FULL, (AIGATE, INSPECT), repeats=3) if unit.key.startswith("10000-128")]
    assert sorted(keys) == [*(f"10000-128: aigate {n}" for n in range(3)), "10000-128: inspect 0"]


@pytest.mark.parametrize("sizes", [FULL, QUICK])
def test_units_have_keys_of_their_own(sizes):
    keys = [unit.key for unit in units(sizes, CONTENDERS, repeats=3)]
    assert len(set(keys)) == len(keys)


def test_what_is_not_installed_is_known(tmp_path):
    assert installed(PROMPTFOO, tmp_path) is None
    assert installed(INSPECT, tmp_path) is None
    assert installed(AIGATE, tmp_path).keys() == {"aigate", "httptools"}


def test_every_contender_of_another_tool_is_pinned():
    pins = [pin for contender in CONTENDERS for pin in contender.requires]
    assert all("==" in pin or "@" in pin or "<" in pin for pin in pins)


def test_a_contender_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        runner.main(["--quick", "--contenders", "aigate,nobody"])
    assert ended.value.code == 2
    assert "no contender 'nobody'; there are aigate," in capsys.readouterr().err


def test_a_unit_that_an_interrupted_run_left_is_not_run_again(tmp_path):
    path = tmp_path / "runner.partial.jsonl"
    runner._keep(path, {"code": "x", "key": "a", "row": ROW})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"code": "x", "key": "b", "ro')
    assert runner._kept(path, {"x", "y"}) == {("x", "a"): ROW}
    assert runner._kept(path, {"y"}) == {}


def test_only_rows_of_other_tools_outlive_a_change_of_aigate():
    of_peers = {unit.key.split(": ")[1].split()[0] for unit in units(FULL, CONTENDERS, repeats=1) if unit.of_peer}
    assert of_peers == {contender.key for contender in CONTENDERS if contender.is_peer}
    assert runner._code_digest(runner.SOURCES) != runner._code_digest(runner.SOURCES[:1])


@pytest.fixture
def written(tmp_path, monkeypatch):
    def run(*arguments, rows=(ROW,)):
        monkeypatch.setattr(runner, "_ready", lambda setting, contenders: (contenders, {}))
        monkeypatch.setattr(runner, "_rows", lambda setting, units, options: list(rows))
        return runner.main([*arguments, "--out", str(tmp_path / "out"), "--scratch", str(tmp_path)])

    return run


def test_the_full_mode_writes_table_and_figures(written, tmp_path, capsys):
    assert written("--full") == 1  # most targets were not measured
    assert json.loads((tmp_path / "out" / "runner.json").read_text("utf-8"))["rows"] == [ROW]
    assert "**NOT MEASURED**" in (tmp_path / "out" / "runner.md").read_text("utf-8")
    assert "TARGETS MISSED" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("--quick",), ("--full", "--only", "plain"), ("--full", "--contenders", "aigate")]
)
def test_a_part_takes_no_tables_place(written, tmp_path, arguments):
    written(*arguments)
    assert not (tmp_path / "out" / "runner.md").exists()
