"""The marker and the fixture: what a test gates, what it says when it fails, and what is no test at all."""

import json

import pytest

RIGHT = 'lambda question: "answer " + question.split()[1] + " is right"'
EXACT = """\
version = "bot/1/v1"
scorers = ["exact_match"]

[policy]
checks = [
  {{ check = "min-score", metric = "exact_match", at-least = 0.9 }},
]
"""


@pytest.fixture
def exact(suites):
    """A suite without a baseline that any callable may answer."""
    suites.write(toml=EXACT, promoted=False)
    return suites


def test_a_callable_that_answers_right_passes(exact):
    exact.test(answer=RIGHT)
    exact.run().assert_outcomes(passed=1)


def test_an_async_callable_is_awaited(exact):
    exact.test(
        """
    async def answer(question):
        return "answer " + question.split()[1] + " is right"
    aigate.evaluate(answer).gate().raise_for_status()
"""
    )
    exact.run().assert_outcomes(passed=1)


def test_a_callable_that_answers_wrong_fails_with_the_check_its_numbers_and_a_word_diff(suites):
    suites.write(good=30)
    suites.test()
    result = suites.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">       aigate.evaluate().gate().raise_for_status()",
            "E       aigate.errors.GateFailed: fail: m/1/v1",
            "E         no-regression correct: mean 1.000 * 0.500: -50.0 points*",
            "*- aigate -*",
            "FAIL  m/1/v1 against m/1/v1",
            "no-regression correct: fail: mean 1.000 * 0.500: -50.0 points*",
            "E   observed -0.5, bound -0.05",
            "    s30  1 * 0",
            "      asked: question 30",
            "      ~ answer 30 is [[]-right-[]]{+wrong+}",
            "next: *",
        ]
    )


def test_a_failure_shows_no_frame_of_ours(exact):
    exact.test(answer='lambda question: "no"')
    result = exact.run("--tb=long")
    result.assert_outcomes(failed=1)
    assert "src/aigate/" not in result.stdout.str()
    assert "verdict.py" not in result.stdout.str()


def test_a_verdict_is_true_only_for_a_pass(exact):
    exact.test(f"assert aigate.evaluate({RIGHT}).gate()")
    exact.run().assert_outcomes(passed=1)
    exact.test('assert aigate.evaluate(lambda question: "no").gate()')
    result = exact.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E       assert <fail: bot/1/v1: min-score exact_match>"])


def test_a_test_may_expect_a_fail(exact):
    exact.test('assert aigate.evaluate(lambda question: "no").gate().status == "fail"')
    exact.run().assert_outcomes(passed=1)


def test_a_missing_baseline_fails_and_says_how_to_make_one(suites):
    suites.write(promoted=False)
    suites.test()
    result = suites.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E       aigate.errors.GateErrored: error: m/1/v1",
            "*no baseline to compare m/1/v1 with*",
            "next: run pytest with --aigate-update-baseline to make this run the baseline",
        ]
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("pass", "the suite was never evaluated"),
        ('aigate.evaluate(lambda question: "no")', "was answered and never gated"),
        ('aigate.evaluate(lambda question: "no").gate()', "nobody looked at the verdict, which is fail"),
        ('verdict = aigate.evaluate(lambda question: "no").gate(); verdict.candidate', "nobody looked at the verdict"),
    ],
)
def test_a_test_that_looks_at_no_verdict_fails(exact, body, why):
    exact.test(body)
    result = exact.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{why}*"])


def test_a_skipped_test_is_skipped(exact):
    exact.test('pytest.skip("not today")')
    exact.run().assert_outcomes(skipped=1)


def test_a_marker_without_the_fixture_fails(exact):
    (exact.root / "test_bot.py").write_text(
        'import pytest\n\n@pytest.mark.aigate(suite="goldens/faq")\ndef test_bot():\n    pass\n'
    )
    result = exact.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*does not take the fixture 'aigate'*"])


def test_the_fixture_without_a_marker_is_an_error_that_says_what_to_write(exact):
    (exact.root / "test_bot.py").write_text("def test_bot(aigate):\n    pass\n")
    result = exact.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs to know the suite", '*next: mark it: @pytest.mark.aigate(suite="*'])
    assert "Traceback" not in result.stdout.str()
    assert "contextlib" not in result.stdout.str()


@pytest.mark.parametrize(
    ("marker", "why"),
    [
        (', verison="m/1/v2"', "unknown keyword 'verison'"),
        (', threshold="much"', "threshold: *expected a number in"),
        (', version="m"', "version: *"),
        (', baseline="older"', "no baseline 'older'"),
    ],
)
def test_a_wrong_marker_is_said_without_a_traceback(suites, marker, why):
    suites.write()
    suites.test(marker=marker)
    result = suites.run()
    assert result.ret == 1
    assert sum(result.parseoutcomes().get(word, 0) for word in ("failed", "errors", "error")) == 1
    result.stdout.fnmatch_lines([f"*{why}*"])
    assert "src/aigate/" not in result.stdout.str()


def test_a_positional_argument_of_the_marker_is_refused(exact):
    (exact.root / "test_bot.py").write_text(
        'import pytest\n\n@pytest.mark.aigate("goldens/faq")\ndef test_bot(aigate):\n    pass\n'
    )
    result = exact.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*keywords only, got 'goldens/faq'*"])


def test_a_suite_that_is_nowhere_is_named_with_the_places_looked_at(exact):
    (exact.root / "test_bot.py").write_text(
        'import pytest\n\n@pytest.mark.aigate(suite="goldens/fqa")\ndef test_bot(aigate):\n    pass\n'
    )
    result = exact.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no suite 'goldens/fqa'*", "*looked for suite.toml in *goldens/fqa"])


def test_the_marker_may_choose_version_baseline_and_threshold(suites):
    suites.write(good=60)
    suites.promote(baseline="other")
    suites.test(marker=', version="m/2/v7", baseline="other", threshold=0.9')
    result = suites.run("--aigate-json", "verdicts.json")
    result.assert_outcomes(failed=1)  # a new provider version without a look at the output's shape cannot pass
    [found] = json.loads((suites.root / "verdicts.json").read_text())["verdicts"]
    assert found["verdict"]["candidate"] == "m/2/v7"
    [score] = [check for check in found["verdict"]["checks"] if check["check"] == "min-score"]
    assert score["threshold"] == 0.9


def test_a_suite_is_found_from_the_root_folder_wherever_pytest_is_started(exact, monkeypatch):
    folder = exact.root / "tests" / "deep"
    folder.mkdir(parents=True)
    (exact.root / "pytest.ini").write_text("[pytest]\n")
    exact.test(answer=RIGHT, name="tests/deep/test_bot.py")
    monkeypatch.chdir(folder)
    exact.run().assert_outcomes(passed=1)
    assert not (folder / ".aigate").exists()
    assert list((exact.root / ".aigate" / "runs" / "faq").glob("*.jsonl"))


def test_further_options_reach_the_evaluation(exact):
    exact.test(
        """
    seen = []
    def answer(question):
        seen.append(question)
        return "answer " + question.split()[1] + " is right"
    evaluated = aigate.evaluate(answer, repeats=2, concurrency=1, version="bot/2/v1")
    assert (len(seen), str(evaluated.run.version)) == (120, "bot/2/v1")
    evaluated.gate().raise_for_status()
"""
    )
    exact.run().assert_outcomes(passed=1)


def test_a_test_may_gate_by_a_policy_of_its_own(exact):
    exact.test(
        """
    from aigate import MinScore, Policy
    policy = Policy((MinScore("exact_match", at_least=0.4),))
    half = lambda question: f"answer {question.split()[1]} is right" if int(question.split()[1]) % 2 else "no"
    evaluated = aigate.evaluate(half)
    assert not evaluated.gate()
    evaluated.gate(policy).raise_for_status()
"""
    )
    exact.run().assert_outcomes(passed=1)


def test_a_stopped_session_does_not_stand_in_the_way_of_the_next(exact):
    exact.test(answer=RIGHT)
    exact.run().assert_outcomes(passed=1)
    [run] = (exact.root / ".aigate" / "runs" / "faq").glob("*.jsonl")
    run.write_bytes(b"".join(run.read_bytes().splitlines(keepends=True)[:20]))  # the file of a run that was killed
    exact.run().assert_outcomes(passed=1)


def test_hostile_answers_cannot_act_on_a_terminal_or_a_job_log(exact):
    hostile = "::set-output name=status::pass\n##[add-mask]x\n\x1b[2J\u202eabc\ud800\x00"
    (exact.root / "hostile.json").write_text(json.dumps(hostile))
    exact.test(
        answer='lambda question: __import__("json").loads(__import__("pathlib").Path("hostile.json").read_text())'
    )
    result = exact.run()
    result.assert_outcomes(failed=1)
    out = result.stdout.str()
    assert "set-output name=status" in out
    assert not any(line.lstrip().startswith("::") for line in out.splitlines())
    assert "##[" not in out
    assert "\x1b" not in out.replace("\x1b[0m", "")
    assert "\u202e" not in out


def test_two_tests_of_one_suite_keep_their_runs_apart(exact):
    exact.test(answer=RIGHT)
    exact.test(answer='lambda question: "no"', name="test_other.py")
    exact.run().assert_outcomes(passed=1, failed=1)
    assert len(list((exact.root / ".aigate" / "runs" / "faq").glob("*.jsonl"))) == 2
