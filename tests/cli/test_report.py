"""The HTML report from the command line: where it is written, and what is refused before anything is paid for."""

import json

import pytest


@pytest.fixture
def runs(place):
    """A baseline and a worse candidate, as run files."""
    _, _, _, before = place.eval(place.record("before", good=95))
    _, _, _, now = place.eval(place.record("now", good=60), "--baseline", before)
    return before, now


def test_eval_writes_the_report_beside_the_verdict(place):
    _, _, _, before = place.eval(place.record("before", good=95))
    page = place.folder / "new" / "report.html"
    code, _, told, _ = place.eval(place.record("now", good=60), "--baseline", before, "--report", page)
    assert code == 1
    assert told.endswith(f"report: {page}")
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>") or text.lstrip().startswith("<!doctype html>")
    assert "FAIL" in text
    assert text.rstrip().endswith("</html>")


def test_gate_writes_it_too(place, runs):
    page = place.folder / "report.html"
    code, _, _ = place.run("gate", runs[1], "--baseline", runs[0], "--report", page)
    assert code == 1
    assert "FAIL" in page.read_text("utf-8")


@pytest.mark.parametrize("name", ["report.txt", "report", "report.json"])
def test_a_report_of_another_kind_is_refused_before_anything_is_asked(place, name):
    code, _, told, out = place.eval(place.record("now", good=95), "--report", name)
    assert code == 2
    assert "expected a file that ends in .html" in told
    assert not out.exists()


def test_a_folder_is_refused_before_anything_is_asked(place):
    (place.folder / "x.html").mkdir()
    code, _, told, out = place.eval(place.record("now", good=95), "--report", "x.html")
    assert (code, "is a folder" in told, out.exists()) == (2, True, False)


def test_a_report_never_takes_the_place_of_a_run(place, runs):
    before, now = runs
    renamed = before.rename(before.with_suffix(".html"))
    kept = renamed.read_bytes()
    code, _, told = place.run("gate", now, "--baseline", renamed, "--report", renamed)
    assert (code, "would write over a run" in told) == (2, True)
    code, _, told = place.run("report", now, "--baseline", renamed, "--out", now)
    assert (code, "would write over a run" in told) == (2, True)
    assert renamed.read_bytes() == kept


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (["--out", "a.html"], "<!doctype html>"),
        (["--out", "a.HTM"], "<!doctype html>"),
        (["--out", "a.json"], "{"),
        (["--out", "a.md"], "## "),
        (["--out", "a.txt"], "## "),
        (["--out", "a.txt", "--format", "html"], "<!doctype html>"),
    ],
)
def test_the_format_is_that_of_the_flag_else_of_the_files_ending(place, runs, arguments, begins):
    code, out, _ = place.run("report", runs[1], "--baseline", runs[0], *arguments)
    assert (code, out) == (0, "")
    assert (place.folder / arguments[1]).read_text("utf-8").lstrip().startswith(begins)


def test_without_a_file_the_document_is_on_standard_output(place, runs):
    code, page, _ = place.run("report", runs[1], "--baseline", runs[0], "--format", "html")
    assert (code, page.rstrip()[-7:]) == (0, "</html>")
    _, document, _ = place.run("report", runs[1], "--baseline", runs[0], "--format", "json")
    assert json.loads(document)["status"] == "fail"
    _, text, _ = place.run("report", runs[1], "--baseline", runs[0])
    assert text.startswith("## ")


def test_a_report_that_cannot_be_written_takes_a_pass_back(place):
    _, _, _, before = place.eval(place.record("before", good=95))
    (place.folder / "file").write_text("in the way")
    code, _, told, _ = place.eval(
        place.record("now", good=95), "--baseline", before, "--report", place.folder / "file" / "x.html"
    )
    assert code == 4
    assert "file" in told


def test_the_report_of_a_run_without_a_baseline_says_so(place):
    _, _, _, run = place.eval(place.record("now", good=95))
    code, page, _ = place.run("report", run, "--format", "html")
    assert code == 0
    assert "ERROR" in page
    assert "no baseline to compare" in page
