"""A baseline that no test uses any more fails the session, as an unused snapshot does."""

import shutil

import pytest


def test_an_unused_baseline_fails_a_session_whose_tests_pass(suites):
    suites.write()
    suites.promote(baseline="old")
    result = suites.run(collect=True)
    result.assert_outcomes(passed=7)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["orphaned baseline: goldens/faq/baselines/old.jsonl: no test uses it", "  next: delete it, or hold a test*"]
    )


def test_a_suite_that_vanished_fails(suites):
    suites.write()
    suites.write("gone")
    (suites.root / "goldens" / "gone" / "suite.toml").unlink()
    result = suites.run(collect=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["orphaned baseline: goldens/gone/baselines/main.jsonl: its suite has no suite.toml*"])


def test_the_anchor_is_in_use(suites):
    suites.write()
    suites.promote(baseline="anchor")
    result = suites.run(collect=True)
    result.assert_outcomes(passed=7)
    assert result.ret == pytest.ExitCode.OK


def test_a_baseline_that_a_marker_names_is_in_use(suites):
    suites.write()
    suites.promote(baseline="old")
    suites.test()
    suites.test(marker=', baseline="old"', name="test_old.py")
    assert suites.run().ret == pytest.ExitCode.OK
    (suites.root / "test_old.py").unlink()
    assert suites.run().ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    "narrowed",
    [
        ["-k", "no-regression"],
        ["-m", "aigate(check='min-score')"],
        ["--deselect", "goldens/faq/suite.toml::rules"],
        ["--ignore", "elsewhere"],
    ],
)
def test_a_session_of_a_part_of_the_tests_has_no_orphans(suites, narrowed):
    suites.write()
    suites.promote(baseline="old")
    assert suites.run(*narrowed, collect=True).ret == pytest.ExitCode.OK


def test_a_session_of_one_file_has_no_orphans(suites):
    suites.write()
    suites.promote(baseline="old")
    suites.test()
    assert suites.run("test_bot.py").ret == pytest.ExitCode.OK


def test_a_session_that_stopped_at_a_failure_has_no_orphans(suites):
    suites.write(good=40)
    suites.promote  # noqa: B018 - the baseline of `write` is enough
    shutil.copytree(suites.root / "goldens" / "faq", suites.root / "goldens" / "later")
    (suites.root / "goldens" / "later" / "suite.toml").unlink()
    result = suites.run("-x", collect=True)
    assert "orphaned" not in result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_orphans_are_named_beside_failing_tests_too(suites):
    suites.write(good=40)
    folder = suites.root / "goldens" / "faq" / "baselines"
    (folder / "stray.jsonl").write_bytes((folder / "main.jsonl").read_bytes())
    result = suites.run(collect=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["orphaned baseline: goldens/faq/baselines/stray.jsonl: *"])
