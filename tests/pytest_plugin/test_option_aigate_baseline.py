"""`--aigate-baseline`: what runs are held against, in place of the suite's own baseline."""

import json


def baseline_digest(suites):
    [found] = json.loads((suites.root / "v.json").read_text())["verdicts"]
    return found["verdict"]["bound"]["baseline"]


def test_a_named_baseline_takes_the_place_of_the_suites_own(suites):
    suites.write()
    suites.answer(good=40)
    lower = suites.root / "goldens" / "faq" / "suite.toml"
    text = lower.read_text()
    lower.write_text("\n".join(line for line in text.splitlines() if "must-pass" not in line and "no-reg" not in line))
    suites.promote(baseline="low")
    lower.write_text(text)
    suites.run("-k", "no-regression", collect=True).assert_outcomes(failed=1, deselected=6)
    suites.run("-k", "no-regression", "--aigate-baseline", "low", collect=True).assert_outcomes(passed=1, deselected=6)


def test_a_run_file_may_be_the_baseline(suites, monkeypatch):
    folder = suites.write()
    (suites.root / "pytest.ini").write_text("[pytest]\n")
    run = suites.root / "elsewhere" / "kept.jsonl"
    run.parent.mkdir()
    run.write_bytes((folder / "baselines" / "main.jsonl").read_bytes())
    (folder / "baselines" / "main.jsonl").unlink()
    (folder / "baselines" / "history.jsonl").unlink()
    suites.run(collect=True).assert_outcomes(passed=6, failed=1)
    suites.run("--aigate-baseline", "elsewhere/kept.jsonl", collect=True).assert_outcomes(passed=7)
    monkeypatch.chdir(run.parent)  # relative to where pytest is started, as every path on its command line
    suites.run("--aigate-baseline", "kept.jsonl", "../goldens", "--aigate-collect").assert_outcomes(passed=7)


def test_it_reaches_tests_with_the_fixture(suites):
    suites.write()
    suites.promote(baseline="other")
    suites.test()
    suites.run("--aigate-json", "v.json").assert_outcomes(passed=1)
    own = baseline_digest(suites)
    suites.run("--aigate-json", "v.json", "--aigate-baseline", "other").assert_outcomes(passed=1)
    assert baseline_digest(suites) != own


def test_a_baseline_that_is_not_there_fails_every_test(suites):
    suites.write()
    result = suites.run("--aigate-baseline", "older", collect=True)
    result.assert_outcomes(failed=7)
    result.stdout.fnmatch_lines(["flag --aigate-baseline: *no baseline 'older' (there are: main)*"])


def test_a_marker_that_names_a_baseline_that_is_not_there_is_named(suites):
    suites.write()
    suites.test(marker=", baseline='older'")
    suites.run().stdout.fnmatch_lines(["*marker baseline: *no baseline 'older' (there are: main)*"])
