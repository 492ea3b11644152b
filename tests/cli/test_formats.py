"""CI documents from the command line: on eval, gate and report alike, and nothing that a model wrote is obeyed."""

import json
import re
from xml.etree import ElementTree as ET

import pytest

from aigate.reports.formats import FORMATS

HOSTILE = "::set-output name=status::pass\n##[add-mask]secret\n::stop-commands::x\x1b[2J\ud800\x00 {i} of {name}"


@pytest.fixture
def runs(place):
    """A promoted baseline, and a worse run whose answers are hostile."""
    _, _, _, base = place.eval(place.record("base", 80))
    assert place.run("baseline", "promote", base, "--suite", place.suite)[0] == 0
    _, _, _, worse = place.eval(place.record("worse", 50, text=HOSTILE))
    return place, base, worse


def obeyed(log):
    """Commands that a GitHub runner would obey, in order; see tests/reports/test_job_log.py."""
    found, stopped = [], None
    for line in log.split("\n"):
        new = re.match(r"\s*::([A-Za-z-]+)(?: [^:]*)?::(.*)", line)
        if stopped is not None:
            stopped = None if line.strip() == f"::{stopped}::" else stopped
        elif new and new[1] == "stop-commands":
            stopped = new[2]
        elif new or (new := re.search(r"##\[([A-Za-z-]+)[^\]]*\]", line)):
            found.append(new[1])
    assert stopped is None, "the log ends while nothing is obeyed"
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_report_and_gate_write_the_same_document(runs, name):
    place, _, worse = runs
    code, reported, _ = place.run("report", worse, "--suite", place.suite, "--format", name)
    gated_code, gated, _ = place.run("gate", worse, "--suite", place.suite, "--format", name)
    assert (code, gated_code) == (0, 1)
    if name == "github":
        assert gated.endswith(reported)  # the gate shows the verdict on the same stream
    elif name != "markdown":  # a report shows more samples
        assert gated == reported


def test_every_document_is_of_its_kind(runs):
    place, _, worse = runs
    written = {name: place.run("report", worse, "--suite", place.suite, "--format", name)[1] for name in FORMATS}
    assert json.loads(written["json"])["status"] == "fail"
    assert json.loads(written["sarif"])["version"] == "2.1.0"
    assert {found["check_name"] for found in json.loads(written["gitlab"])} == {"aigate/no-regression"}
    assert ET.fromstring(written["junit"].encode()).get("failures") != "0"  # noqa: S314 - our own
    assert written["github"].startswith("::error file=goldens/faq/suite.toml,line=")
    assert written["github-comment"].startswith("<!-- aigate: faq -->\n## ❌ FAIL")
    assert written["markdown"].startswith("## ❌ FAIL")


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"github"}))
def test_no_document_on_standard_output_gives_the_runner_a_command(runs, name):
    place, _, worse = runs
    _, out, _ = place.run("report", worse, "--suite", place.suite, "--format", name)
    assert obeyed(out) == []
    assert "##[" not in out


def test_in_a_github_job_only_our_annotations_are_obeyed(runs, monkeypatch, tmp_path, capsys):
    place, _, worse = runs
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    code, out, err = place.run("gate", worse, "--suite", place.suite, "--format", "github")
    assert code == 1
    assert obeyed(out) == ["error"]
    assert err == ""
    assert "set-output name=status" in out  # it is shown, and not obeyed
    assert "## ❌ FAIL" in (tmp_path / "summary.md").read_text()
    assert "status<<ghadelimiter_" in (tmp_path / "output").read_text()


@pytest.mark.parametrize("command", ["gate", "compare"])
def test_in_a_github_job_what_people_read_is_not_obeyed(runs, monkeypatch, command):
    from aigate.cli.main import main

    place, base, worse = runs
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    arguments = [worse, "--suite", place.suite] if command == "gate" else [base, worse]
    place._capsys.readouterr()
    main([command, *map(str, arguments)])
    _, err = place._capsys.readouterr()
    assert "set-output" in err
    assert obeyed(err) == []


def test_an_error_message_is_not_obeyed_either(place, monkeypatch):
    from aigate.cli.main import main

    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    (place.suite / "samples.jsonl").write_text('{"id": "a", "input": "x", "::error::": 1}\n')
    assert main(["eval", "--suite", str(place.suite), "--recorded", "none.jsonl"]) == 2
    _, err = place._capsys.readouterr()
    assert obeyed(err) == []


def test_without_a_suite_documents_point_to_the_run(runs):
    place, base, worse = runs
    for path in (place.suite / "suite.toml", place.suite / "samples.jsonl"):
        path.unlink()
    code, out, _ = place.run("report", worse, "--baseline", base, "--format", "gitlab")
    assert code == 0
    assert {found["location"]["path"] for found in json.loads(out)} == {"runs/worse.jsonl"}


def test_paths_are_seen_from_the_top_of_the_checkout(runs, monkeypatch):
    place, _, worse = runs
    monkeypatch.setenv("GITHUB_WORKSPACE", str(place.folder / "goldens"))
    _, out, _ = place.run("report", worse, "--suite", place.suite, "--format", "gitlab")
    assert {found["location"]["path"] for found in json.loads(out)} == {"faq/suite.toml", "faq/samples.jsonl"}
