"""A missed target is printed as missed, and ends the run with exit code 1."""

import json

import pytest

import gate_rates
from rates import report, rivals
from rates.plan import Configuration, Target, configurations

OPTIONS = {"rate": 0.05, "limit": 0.01, "requests": 300}


@pytest.fixture
def small(monkeypatch):
    """Run the script on one configuration, with a target that is met or not."""

    def run(limit, *arguments):
        target = Target("alarm", limit)
        only = [Configuration("canary", "5 % errors", "rate_alarms", OPTIONS, 100, (target,), ("alarm", "median"))]
        monkeypatch.setattr(gate_rates, "configurations", lambda **_: only)
        monkeypatch.setattr(gate_rates.gated, "agreement", lambda cases: dict.fromkeys(AGREEMENT, 0) | {"cases": cases})
        monkeypatch.setattr(gate_rates, "_costs", lambda: [COST])
        return gate_rates.main([*arguments, "--processes", "1"])

    return run


AGREEMENT = ("cases", "close", "disagree", "block", "pass", "undecided")
COST = {"name": "n = 7", "seconds": 4.0, "most_s": 3, "mebibytes": 80.0, "before": 60.0, "most_mib": 500}


def test_a_met_target_ends_well(small, capsys):
    assert small(1.0, "--quick") == 0
    out, err = capsys.readouterr()
    assert "1 targets: 1 met, 0 within noise, 0 missed" in out
    assert " MISSED**" not in out
    assert "no target missed" in err


def test_a_missed_target_is_said_and_fails(small, capsys):
    assert small(0.0, "--quick") == 1
    out, err = capsys.readouterr()
    assert " MISSED** |" in out
    assert "1 missed" in out
    assert "TARGETS MISSED" in err


def test_the_quick_mode_writes_no_table(small, tmp_path):
    small(1.0, "--quick", "--out", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_full_mode_writes_table_and_figures(small, tmp_path):
    assert small(1.0, "--full", "--out", str(tmp_path)) == 1  # the gate took 4 s of 3
    page = (tmp_path / "gate_rates.md").read_text("utf-8")
    document = json.loads((tmp_path / "gate_rates.json").read_text("utf-8"))
    assert "| n = 7 | 4.00 | ≤ 3 |" in page
    assert "**MISSED**" in page
    assert document["rows"][0]["status"] == "met"
    assert document["machine"]["packages"].keys() >= {"aigate", "numpy", "scipy"}
    assert document["seeds"]


def test_time_and_memory_are_measured_alone(small, capsys):
    assert small(1.0, "--cost") == 1  # the gate took 4 s of 3
    assert "| n = 7 | 4.00 | ≤ 3 | 80 (before gate(): 60) | ≤ 500 | **MISSED** |" in capsys.readouterr().out


def test_a_part_of_the_full_mode_takes_no_tables_place(small, tmp_path):
    small(1.0, "--full", "--out", str(tmp_path), "--only", "canary")
    assert [path.name for path in tmp_path.iterdir()] == ["gate_rates.partial.jsonl"]


def test_a_missing_rival_is_named_as_not_installed(monkeypatch):
    def version(name):
        raise rivals.PackageNotFoundError(name)

    monkeypatch.setattr(rivals, "version", version)
    assert "statgate: not installed, no rows" in report._called(report.machine()["rivals"])


def test_the_committed_page_is_made_of_the_committed_figures_and_misses_no_target():
    document = json.loads((gate_rates.RESULTS / "gate_rates.json").read_text("utf-8"))
    assert report.markdown(document) == (gate_rates.RESULTS / "gate_rates.md").read_text("utf-8")
    assert document["mode"] == "full"
    assert report.nothing_missed(document)


def test_the_committed_figures_are_those_of_the_plan():
    document = json.loads((gate_rates.RESULTS / "gate_rates.json").read_text("utf-8"))
    wanted = {(c.section, c.name, t.measure, t.limit, c.runs) for c in configurations(quick=False) for t in c.targets}
    found = {(r["section"], r["name"], r["measure"], r["target"], r["runs"]) for r in document["rows"] if r["status"]}
    assert wanted <= found


def test_every_section_of_the_plan_has_a_title():
    assert {c.section for c in configurations(quick=False)} <= set(report.SECTIONS)


def test_the_page_shows_sizes_side_by_side():
    row = {"section": "equal", "runs": 10, "measure": "block", "target": 0.05, "at_most": True, "error": 0.0}
    rows = [
        {**row, "name": f"0/1, corr .6; n={n}, fixed", "value": value, "status": status}
        for n, value, status in ((50, 0.01, "met"), (100, 0.052, "within noise"), (200, 0.2, "missed"))
    ]
    assert "| 0/1, corr .6 | fixed | 1.00 % | 5.20 % ~ | **20.0 % MISSED** | ≤ 5.00 % |" in report._sizes(rows)
