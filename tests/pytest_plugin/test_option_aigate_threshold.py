"""`--aigate-threshold`: what the primary metric must reach."""

import pytest


def test_a_higher_threshold_fails_what_passed(suites):
    suites.write(good=60)
    suites.run("-k", "min-score", "--aigate-threshold", "1", collect=True).assert_outcomes(passed=1, deselected=6)
    suites.answer(good=50)
    suites.run("-k", "min-score", collect=True).assert_outcomes(passed=1, deselected=6)
    result = suites.run("-k", "min-score", "--aigate-threshold", "0.9", collect=True)
    result.assert_outcomes(failed=1, deselected=6)
    result.stdout.fnmatch_lines(["min-score correct: fail: mean 0.8333 < 0.9*", "E   observed 0.8333, bound 0.9"])


def test_it_adds_the_test_where_the_policy_has_no_such_check(suites):
    folder = suites.write()
    toml = "\n".join(line for line in (folder / "suite.toml").read_text().splitlines() if "min-score" not in line)
    (folder / "suite.toml").write_text(toml)
    suites.run(collect=True).assert_outcomes(passed=6)
    suites.run("--aigate-threshold", "0.9", collect=True).assert_outcomes(passed=7)


def test_it_reaches_tests_with_the_fixture_and_wins_over_the_marker(suites):
    suites.write(promoted=False)
    folder = suites.root / "goldens" / "faq"
    toml = "\n".join(line for line in (folder / "suite.toml").read_text().splitlines() if "no-reg" not in line)
    (folder / "suite.toml").write_text(toml)
    suites.answer(good=50)
    suites.test(
        "aigate.evaluate().gate(); "
        'assert {c.threshold for c in aigate.evaluations[0].verdict.checks if c.check == "min-score"} == {0.7}',
        marker=", threshold=0.95",
    )
    suites.run("--aigate-threshold", "0.7").assert_outcomes(passed=1)


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan", "much"])
def test_a_number_that_is_none_is_said_without_a_traceback(suites, threshold):
    suites.write()
    result = suites.run(f"--aigate-threshold={threshold}", collect=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*threshold: *expected a number in [[]0, 1[]]*"])
    assert "Traceback" not in result.stdout.str()


def test_what_is_wrong_names_the_option_that_was_typed(suites):
    suites.write()
    result = suites.run("--aigate-threshold", "1.5", collect=True)
    result.stdout.fnmatch_lines(["flag --aigate-threshold: threshold: got 1.5, expected a number in [[]0, 1[]]"])
    suites.run("--aigate-threshold=", collect=True).stdout.fnmatch_lines(
        ["flag --aigate-threshold: threshold: got ''*"]
    )


def test_what_is_wrong_with_a_marker_names_the_marker(suites):
    suites.write()
    suites.test(marker=", threshold=1.5")
    suites.run().stdout.fnmatch_lines(["*marker threshold: threshold: got 1.5, expected a number in [[]0, 1[]]"])
    suites.run("--aigate-threshold", "2").stdout.fnmatch_lines(["*flag --aigate-threshold: threshold: got 2.0,*"])
    suites.test(marker=", version='v1'")
    suites.run().stdout.fnmatch_lines(["*marker version: version: *"])


def test_a_refused_promotion_names_the_option_that_was_typed(suites):
    suites.write(promoted=False)
    result = suites.run("--aigate-threshold", "0.3", "--aigate-update-baseline", collect=True)
    result.stdout.fnmatch_lines(["E *not promoted: flag --aigate-threshold: 0.3 is lower than the 0.5 of faq*"])
