"""`--aigate-update-baseline`: the only way in which pytest writes a baseline, and only for a run that passes."""

import pytest

from aigate.storing.baselines import Baselines


def promoted(suites, name="faq"):
    return [line.version for line in Baselines(suites.root / "goldens" / name / "baselines").history()]


def files(suites):
    return {
        path.relative_to(suites.root): path.read_bytes()
        for path in (suites.root / "goldens").rglob("*")
        if path.is_file()
    }


def test_without_it_nothing_is_written_to_the_suite(suites):
    suites.write()
    before = files(suites)
    suites.run(collect=True).assert_outcomes(passed=7)
    assert files(suites) == before


def test_the_first_baseline_is_made_and_what_has_nothing_to_compare_is_skipped(suites):
    suites.write(promoted=False)
    result = suites.run("--aigate-update-baseline", "-rs", collect=True)
    result.assert_outcomes(passed=6, skipped=1)
    result.stdout.fnmatch_lines(["*now the baseline main: m/1/v1"])
    result.stdout.fnmatch_lines(["*first baseline (main: m/1/v1): nothing to compare it with"])
    assert promoted(suites) == ["m/1/v1"]
    suites.run(collect=True).assert_outcomes(passed=7)


def test_a_better_run_replaces_the_baseline(suites):
    folder = suites.write(good=60)
    toml = (folder / "suite.toml").read_text()
    (folder / "suite.toml").write_text(toml.replace("m/1/v1", "m/1/v2"))
    suites.run("--aigate-update-baseline", collect=True).assert_outcomes(passed=7)
    assert promoted(suites) == ["m/1/v1", "m/1/v2"]


def test_a_worse_run_fails_and_changes_nothing(suites):
    suites.write(good=40)
    before = files(suites)
    result = suites.run("--aigate-update-baseline", collect=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the baseline was not updated*", "*not promoted: the verdict is fail*"])
    assert files(suites) == before


def test_a_policy_without_a_score_of_its_own_cannot_make_the_first_baseline(suites):
    folder = suites.write(promoted=False)
    toml = "\n".join(line for line in (folder / "suite.toml").read_text().splitlines() if "min-score" not in line)
    (folder / "suite.toml").write_text(toml)
    result = suites.run("--aigate-update-baseline", collect=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert promoted(suites) == []
    suites.run("--aigate-update-baseline", "--aigate-threshold", "0.9", collect=True)
    assert promoted(suites) == ["m/1/v1"]


def test_a_test_with_the_fixture_updates_too(suites):
    suites.write(promoted=False)
    suites.test()
    suites.run("--aigate-update-baseline").assert_outcomes(passed=1)
    assert promoted(suites) == ["m/1/v1"]
    suites.run().assert_outcomes(passed=1)


def test_a_test_whose_run_is_no_pass_fails_even_if_it_looks_away(suites):
    suites.write(good=40)
    suites.test("aigate.evaluate().gate().status")
    result = suites.run("--aigate-update-baseline")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the baseline was not updated: *"])


def test_the_whole_suite_is_asked(suites):
    toml = """\
version = "bot/1/v1"
provider = "callable"
provider-options = {{ target = "bot.py:answer" }}
scorers = ["exact_match"]
[policy]
margin = 0.2
checks = [
  {{ check = "min-score", metric = "exact_match", at-least = 0.5 }},
  {{ check = "no-regression", metric = "exact_match" }},
]
"""
    folder = suites.write(n=400, toml=toml, promoted=False)
    (folder / "bot.py").write_text(
        "from pathlib import Path\n\ndef answer(question):\n"
        "    with Path(__file__).with_name('calls.txt').open('a') as calls:\n        calls.write('.')\n"
        "    return 'answer ' + question.split()[1] + ' is right'\n"
    )
    suites.run("--aigate-update-baseline", collect=True).assert_outcomes(passed=2, skipped=1)
    first = len((folder / "calls.txt").read_text())
    suites.run(collect=True).assert_outcomes(passed=3)
    early = len((folder / "calls.txt").read_text()) - first
    suites.run("--aigate-update-baseline", collect=True).assert_outcomes(passed=3)
    whole = len((folder / "calls.txt").read_text()) - first - early
    assert (first, whole) == (400, 400)
    assert early < 400
