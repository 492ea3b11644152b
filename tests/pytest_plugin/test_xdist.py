"""With pytest-xdist: one run of a suite for all workers, and the controller knows every verdict."""

import json

import pytest

ALONE = [word for name in ("benchmark", "hypothesispytest", "anyio") for word in ("-p", f"no:{name}")]


def callable_suite(suites):
    folder = suites.write(promoted=False)
    (folder / "bot.py").write_text(
        "import os\nfrom pathlib import Path\n\ndef answer(question):\n"
        "    with Path(__file__).with_name('calls.txt').open('a') as calls:\n        calls.write('.')\n"
        "    return 'answer ' + question.split()[1] + ' is right'\n"
    )
    (folder / "suite.toml").write_text(
        'version = "bot/1/v1"\nprovider = "callable"\nprovider-options = { target = "bot.py:answer" }\n'
        'scorers = ["exact_match"]\n[policy]\nchecks = [\n'
        '{ check = "min-score", metric = "exact_match", at-least = 0.5 },\n'
        '{ check = "must-pass", tag = "safety" },\n{ check = "max-error-rate", at-most = 0.01 },\n]\n'
    )
    return folder


@pytest.mark.parametrize("dist", ["load", "worksteal", "each"])
def test_a_suite_runs_once_for_all_workers(suites, dist):
    folder = callable_suite(suites)
    tx = ["--tx", "2*popen"] if dist == "each" else ["-n", "2"]
    result = suites.run_process("goldens", "--aigate-collect", *tx, "--dist", dist, *ALONE, "--aigate-json", "v.json")
    result.assert_outcomes(passed=14 if dist == "each" else 7)
    assert len((folder / "calls.txt").read_text()) == 60
    result.stdout.fnmatch_lines(["goldens/faq: PASS  bot/1/v1*"])
    assert len(json.loads((suites.root / "v.json").read_text())["verdicts"]) == 1


def test_failures_orphans_and_properties_reach_the_controller(suites):
    suites.write(good=40)
    suites.promote  # noqa: B018
    folder = suites.root / "goldens" / "faq" / "baselines"
    (folder / "stray.jsonl").write_bytes((folder / "main.jsonl").read_bytes())
    result = suites.run_process("goldens", "--aigate-collect", "-n", "2", *ALONE, "--junitxml", "junit.xml")
    assert result.ret == 1
    result.assert_outcomes(passed=4, failed=3)
    result.stdout.fnmatch_lines(["orphaned baseline: goldens/faq/baselines/stray.jsonl: no test uses it"])
    assert "      ~ answer 40 is [-right-]{+wrong+}" in result.outlines
    assert 'name="aigate.no-regression.correct.observed" value="-0.33' in (suites.root / "junit.xml").read_text()


def test_tests_with_the_fixture_start_the_plugin_on_the_controller(suites):
    suites.write()
    suites.promote(baseline="old")
    suites.test()
    result = suites.run_process("-n", "2", *ALONE)
    result.assert_outcomes(passed=1)
    assert result.ret == 1  # the orphan
    result.stdout.fnmatch_lines(["goldens/faq: PASS  m/1/v1 against m/1/v1*", "orphaned baseline: *old.jsonl*"])


def test_each_worker_tells_an_error_of_the_suite_once(suites):
    folder = callable_suite(suites)
    (folder / "bot.py").unlink()
    result = suites.run_process("goldens", "--aigate-collect", "-n", "2", *ALONE)
    result.assert_outcomes(failed=7)
    told, pointing = (
        result.stdout.str().count("no file bot.py (looked"),
        result.stdout.str().count("\nnot judged: see "),
    )
    assert 1 <= told <= 2  # once from each worker that had a test
    assert told + pointing == 7
    assert "Traceback" not in result.stdout.str()


def test_nothing_is_left_in_the_folder_for_temporary_files(suites, monkeypatch, tmp_path):
    callable_suite(suites)
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    suites.run_process("goldens", "--aigate-collect", "-n", "1", *ALONE).assert_outcomes(passed=7)
    assert [path.name for path in own.iterdir() if path.name.startswith("aigate")] == []
