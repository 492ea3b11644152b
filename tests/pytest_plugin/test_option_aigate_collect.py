"""`--aigate-collect`: a golden suite is a file of tests, with ids and markers that -k, -m and --lf understand."""

import pytest

NAMES = [
    "rules",
    "min-score[correct]",
    "no-regression[correct]",
    "must-pass[safety]",
    "must-pass[safety/s00]",
    "must-pass[safety/s01]",
    "must-pass[safety/s59]",
]
HERE = "goldens/faq/suite.toml"


def listed(result):
    return [line.rpartition("toml::")[2] for line in result.outlines if "toml::" in line and "<" not in line]


def test_without_the_option_a_suite_is_no_test(suites):
    suites.write()
    result = suites.run("goldens")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not (suites.root / ".aigate").exists()


def test_one_test_per_check_and_per_sample_that_must_pass(suites):
    suites.write()
    result = suites.run("--collect-only", "-q", collect=True)
    assert listed(result) == NAMES
    assert not (suites.root / ".aigate").exists()


def test_the_ini_setting_opts_in_too(suites):
    suites.write()
    (suites.root / "pytest.ini").write_text("[pytest]\naigate_collect = true\n")
    suites.run("goldens").assert_outcomes(passed=7)


def test_a_passing_suite_passes_every_test(suites):
    suites.write()
    result = suites.run(collect=True)
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(["goldens/faq: PASS  m/1/v1 against m/1/v1  (run: .aigate/runs/faq/*.jsonl)"])


def test_a_worse_suite_fails_where_it_is_worse(suites):
    suites.write(good=40)
    result = suites.run("-v", collect=True)
    result.assert_outcomes(passed=4, failed=3)
    result.stdout.fnmatch_lines(
        [
            f"{HERE}::rules PASSED*",
            f"{HERE}::min-score[[]correct[]] PASSED*",
            f"{HERE}::no-regression[[]correct[]] FAILED*",
            f"{HERE}::must-pass[[]safety[]] FAILED*",
            f"{HERE}::must-pass[[]safety/s00[]] PASSED*",
            f"{HERE}::must-pass[[]safety/s59[]] FAILED*",
        ]
    )
    result.stdout.fnmatch_lines(
        [
            "*faq: no-regression[[]correct[]]*",
            "no-regression correct: fail: mean 1.000 * 0.667: -33.3 points*",
            "E   observed -0.3333, bound -0.05",
            "    candidate m/1/v1, baseline m/1/v1",
            "    s40  1 * 0",
            "      ~ answer 40 is [[]-right-[]]{+wrong+}",
            "    * and 15 more",
        ]
    )
    result.stdout.fnmatch_lines(
        ["*faq: must-pass[[]safety/s59[]]*", "s59  0  repeat 0", "      asked: question 59", "      ~ answer 59 is*"]
    )
    assert "Traceback" not in result.stdout.str()


def low_as_before(suites):
    """A suite whose threshold is missed by answers that are those of its baseline."""
    folder = suites.write(promoted=False)
    suites.answer(good=40)
    toml = (folder / "suite.toml").read_text()
    (folder / "suite.toml").write_text("\n".join(line for line in toml.splitlines() if "must-pass" not in line))
    suites.promote()
    (folder / "suite.toml").write_text(toml.replace("at-least = 0.5", "at-least = 0.9"))


def test_a_mean_that_was_as_low_before_shows_the_worst_samples_all_the_same(suites):
    low_as_before(suites)
    result = suites.run("-k", "min-score", collect=True)
    result.assert_outcomes(failed=1, deselected=6)
    shown = [
        "    s40  0 → 0",
        "      asked: question 40",
        "      right: answer 40 is right",
        "      = answer 40 is wrong",
    ]
    assert [line for line in result.outlines if line in shown] == shown
    assert len([line for line in result.outlines if line.startswith("      right: ")]) == 5
    result.stdout.fnmatch_lines(["    * and 15 more", "next: read the lowest samples"])


def test_so_does_a_test_with_the_fixture(suites):
    low_as_before(suites)
    suites.test(marker=", threshold=0.9")
    assert "    s40  0 → 0" in suites.run().outlines


def test_a_number_over_the_whole_run_shows_the_samples_that_lower_it(suites):
    folder = suites.write(promoted=False, good=40)
    (folder / "suite.toml").write_text(
        'version = "m/1/v1"\nprovider = "replay"\nprovider-options = { recorded = "answers.jsonl" }\n'
        'scorers = ["classification"]\n[policy]\nchecks = [\n'
        '{ check = "min-score", metric = "accuracy.f1_macro", at-least = 0.9 },\n]\n'
    )
    result = suites.run("-k", "min-score", collect=True)
    result.assert_outcomes(failed=1, deselected=1)
    shown = ["    s40  0", "      right: answer 40 is right", "      + answer 40 is wrong", "    s44  0", "    s45  0"]
    assert [line for line in result.outlines if line in shown] == shown[:-1]
    assert "    … and 15 more" in result.outlines


def test_the_suite_runs_once_for_all_its_tests(suites):
    folder = suites.write()
    (folder / "bot.py").write_text(
        "from pathlib import Path\n\ndef answer(question):\n"
        "    with Path(__file__).with_name('calls.txt').open('a') as calls:\n        calls.write('.')\n"
        "    return 'answer ' + question.split()[1] + ' is right'\n"
    )
    toml = (folder / "suite.toml").read_text().replace("replay", "callable")
    toml = toml.replace('recorded = "answers.jsonl"', 'target = "bot.py:answer"').replace(
        "recorded:correct", "exact_match"
    )
    (folder / "suite.toml").write_text(
        toml.replace('"correct"', '"exact_match"').replace("no-regression", "same-shape#")
    )
    lines = [line for line in (folder / "suite.toml").read_text().splitlines() if "same-shape#" not in line]
    (folder / "suite.toml").write_text("\n".join(lines) + "\n")
    suites.run(collect=True).assert_outcomes(passed=6)
    assert len((folder / "calls.txt").read_text()) == 60


def test_k_chooses_by_check_metric_tag_and_sample(suites):
    suites.write()
    for expression, chosen in {
        "no-regression": ["no-regression[correct]"],
        "s59": ["must-pass[safety/s59]"],
        "safety and not s59 and not s0": ["must-pass[safety]"],
        "correct and not must-pass": ["min-score[correct]", "no-regression[correct]"],
    }.items():
        assert listed(suites.run("--collect-only", "-q", "-k", expression, collect=True)) == chosen


def test_m_chooses_by_the_marker_and_its_arguments(suites):
    suites.write()
    assert listed(suites.run("--collect-only", "-q", "-m", "aigate", collect=True)) == NAMES
    assert suites.run("--collect-only", "-q", "-m", "not aigate", collect=True).ret == 5
    found = listed(suites.run("--collect-only", "-q", "-m", "aigate(check='must-pass')", collect=True))
    assert found == [name for name in NAMES if "must-pass" in name]


def test_lf_runs_what_failed_last(suites):
    suites.write(good=40)
    suites.run(collect=True).assert_outcomes(passed=4, failed=3)
    result = suites.run("--lf", "-v", collect=True)
    result.assert_outcomes(failed=3)
    suites.answer(good=60)
    suites.run("--lf", collect=True).assert_outcomes(passed=3)


def test_a_test_is_chosen_by_its_id(suites):
    suites.write()
    for name in ("no-regression[correct]", "must-pass[safety/s59]"):
        suites.run(f"{HERE}::{name}", "--aigate-collect").assert_outcomes(passed=1)


def test_without_a_cache_it_runs_the_same(suites):
    suites.write()
    suites.run("-p", "no:cacheprovider", collect=True).assert_outcomes(passed=7)
    assert not (suites.root / ".pytest_cache").exists()


def test_a_missing_baseline_fails(suites):
    suites.write(promoted=False)
    result = suites.run(collect=True)
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(["no-regression correct: error: no baseline", "next: run pytest with --aigate-upd*"])


def test_a_lost_baseline_fails_every_test(suites):
    folder = suites.write()
    (folder / "baselines" / "main.jsonl").unlink()
    result = suites.run(collect=True)
    result.assert_outcomes(failed=7)
    result.stdout.fnmatch_lines(["*faq: rules*", "*baseline 'main' is lost*", "  next: *"])
    result.stdout.fnmatch_lines(["*faq: min-score[[]correct[]]*", f"not judged: see {HERE}::rules"])
    assert result.stdout.str().count("is lost") == 1
    assert result.outlines.count(f"not judged: see {HERE}::rules") == 6
    assert "Traceback" not in result.stdout.str()


def test_the_first_test_that_runs_tells_why_nothing_was_judged(suites):
    folder = suites.write()
    (folder / "baselines" / "main.jsonl").unlink()
    result = suites.run("-k", "must-pass", collect=True)
    result.assert_outcomes(failed=4, deselected=3)
    result.stdout.fnmatch_lines(["*faq: must-pass[[]safety[]]*", "*baseline 'main' is lost*"])
    assert result.outlines.count(f"not judged: see {HERE}::must-pass[safety]") == 3


def test_why_a_tag_was_not_judged_is_told_once(suites):
    folder = suites.write(promoted=False)
    toml = (folder / "suite.toml").read_text().replace('"recorded:correct"', '"recorded:correct", "exact_match"')
    (folder / "suite.toml").write_text(toml.replace('"safety", metric = "correct"', '"safety", metric = "exact_match"'))
    rows = (folder / "samples.jsonl").read_text().replace(', "reference": "answer 59 is right"', "")
    (folder / "samples.jsonl").write_text(rows)
    result = suites.run("-k", "must-pass", collect=True)
    result.assert_outcomes(failed=4, deselected=3)
    result.stdout.fnmatch_lines(
        ["*faq: must-pass[[]safety[]]*", "*s59 tagged 'safety' cannot be judged by exact_match"]
    )
    assert result.outlines.count(f"not judged: see {HERE}::must-pass[safety]") == 3


def test_an_inconclusive_verdict_fails(suites):
    suites.write(good=58)
    result = suites.run("-k", "no-regression", collect=True)
    result.assert_outcomes(failed=1, deselected=6)
    result.stdout.fnmatch_lines(["no-regression correct: inconclusive: *"])


def test_a_broken_suite_is_a_collection_error_that_says_where(suites):
    folder = suites.write()
    (folder / "suite.toml").write_text((folder / "suite.toml").read_text().replace("[policy]", "[polcy]"))
    result = suites.run(collect=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*suite.toml:*: unknown key 'polcy'*", "*did you mean 'policy'*"])
    assert "src/aigate" not in result.stdout.str()


def test_a_policy_that_decides_on_nothing_there_is_a_failure_without_a_traceback(suites):
    folder = suites.write()
    (folder / "suite.toml").write_text((folder / "suite.toml").read_text().replace('"safety"', '"saftey"'))
    result = suites.run(collect=True)
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["*looks at tag 'saftey', which no sample carries*"])
    assert "Traceback" not in result.stdout.str()


def test_two_checks_alike_have_different_ids(suites):
    toml = (
        'version = "m/1/v1"\nprovider = "replay"\nprovider-options = {{ recorded = "answers.jsonl" }}\n'
        'scorers = ["recorded:correct"]\n[policy]\nchecks = [\n'
        '{{ check = "min-score", metric = "correct", at-least = 0.5 }},\n'
        '{{ check = "min-score", metric = "correct", at-least = 0.9 }},\n]\n'
    )
    suites.write(good=48, promoted=False, toml=toml)
    result = suites.run("-v", collect=True)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines([f"{HERE}::min-score[[]correct[]]#2 FAILED*"])


def test_ids_of_samples_that_are_no_names_are_made_visible(suites):
    folder = suites.write(promoted=False)
    rows = (folder / "samples.jsonl").read_text().replace('"s00"', '"a::b [c]\\n\\u202e"')
    (folder / "samples.jsonl").write_text(rows)
    answers = (folder / "answers.jsonl").read_text().replace('"s00"', '"a::b [c]\\n\\u202e"')
    (folder / "answers.jsonl").write_text(answers)
    result = suites.run("--collect-only", "-q", "-k", "s59 or b", collect=True)
    assert any("a::b [c]\\n\\u202e" in line for line in result.outlines), result.outlines


def test_an_unknown_suite_folder_is_pytests_own_error(suites):
    assert suites.run("goldens/nowhere", "--aigate-collect").ret == pytest.ExitCode.USAGE_ERROR
