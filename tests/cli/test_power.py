"""`aigate goldens power`: told before any call, in words, in a table and as JSON."""

import json

import pytest


@pytest.fixture
def noisy(place):
    """A run of the suite, twice each of 100 samples: in ten of them the second answer is lost."""
    rows = [
        {"id": f"s{i:03}", "repeat": k, "output": f"{i} {k}", "scores": {"correct": float(k == 0 or i >= 10)}}
        for i in range(100)
        for k in range(2)
    ]
    path = place.folder / "noisy.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = place.eval(path, "--repeats", "2", "--quiet")[-1]
    assert out.exists()
    return out


def power(place, *arguments):
    code, out, err = place.run("goldens", "power", place.suite, *arguments)
    return code, " ".join(out.split()), err


def test_before_any_baseline_it_says_what_is_assumed(place):
    code, out, _ = power(place)
    assert code == 0
    assert "warning: no-regression correct: 100 samples, 1 repeat: sees drops of 9.9 points or more" in out
    assert "up to 3 answers while undecided: sees drops of 8.1 points or more" in out
    assert "a margin of 5 points needs 264 samples, or 5 baseline and 5 candidate repeats on these 100" in out
    assert "(planned with an assumed scatter of 32.7 points)" in out
    assert "run the baseline with --repeats 5" in out


def test_a_run_with_repeats_is_measured(place, noisy):
    code, out, _ = power(place, "--baseline", noisy, "--baseline-repeats", "1")
    # s² = 10 x 0.5 / 100 = 0.05, so a difference scatters by 31.6 points: 2.486 x 0.316 / 10 = 7.9.
    assert code == 0
    assert "sees drops of 7.9 points or more; up to 3 answers while undecided: sees drops of 6.4 points or more" in out
    assert "a margin of 5 points needs 165 samples" in out
    assert "measured between 2 repeats of the baseline" in out


def test_a_promoted_baseline_is_found_by_itself(place, noisy):
    assert place.run("baseline", "promote", noisy, "--suite", place.suite)[0] == 0
    told = json.loads(place.run("goldens", "power", place.suite, "--format", "json")[1])
    assert told["baseline"].endswith("main.jsonl")
    assert (told["checks"][0]["baseline_repeats"], told["checks"][0]["measured"]) == (2, True)


def test_the_table_holds_the_suites_own_size_with_a_star(place):
    lines = place.run("goldens", "power", place.suite)[1].splitlines()
    own = next(line.split() for line in lines if line.split()[:1] == ["100"])
    assert own == ["100", "9.9*", "7.7", "5.1", "4.4"]
    needed = next(line.split() for line in lines if line.strip().startswith("needed for 5"))
    assert needed[3:] == ["396", "238", "106", "80"]
    assert max(len(line) for line in lines) <= 80


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--strict",), 2), (("--strict", "--margin", "0.2"), 0)])
def test_only_strict_refuses_and_only_what_cannot_be_seen(place, flags, code):
    assert power(place, *flags)[0] == code


def test_a_strict_policy_refuses_without_the_flag(place):
    toml = (place.suite / "suite.toml").read_text().replace("[policy]", "[policy]\nstrict = true")
    place.write_suite(toml=toml)
    code, out, _ = power(place)
    assert code == 2
    assert "error: no-regression correct: 100 samples" in out


def test_margin_takes_the_place_of_every_margin(place):
    toml = (
        (place.suite / "suite.toml")
        .read_text()
        .replace('metric = "correct" },\n]', 'metric = "correct", margin = 0.03 },\n]')
    )
    place.write_suite(toml=toml)
    assert "margin of 3 points" in power(place)[1]
    assert "margin of 2 points" in power(place, "--margin", "0.02")[1]
    assert "margin 10 points (auto)" in power(place, "--margin", "auto")[1]


def test_alpha_and_power_move_the_numbers(place):
    assert "sees drops of 12.7 points or more" in power(place, "--alpha", "0.01")[1]
    assert "sees drops of 11.7 points or more" in power(place, "--power", "0.9")[1]


def test_a_suite_without_a_policy_is_planned_for_its_primary_metric(place):
    toml = (place.suite / "suite.toml").read_text().partition("[policy]")[0]
    place.write_suite(toml=toml)
    assert "no-regression correct: 100 samples" in power(place)[1]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--margin", "5"), "--margin is '5': expected a number between 0 and 1 or 'auto'"),
        (("--margin", "Auto"), "--margin is 'Auto'"),
        (("--margin", "nan"), "--margin is 'nan'"),
        (("--alpha", "0.5"), "--alpha is '0.5': expected a number between 0 and 0.5"),
        (("--power", "1"), "--power is '1': expected a number between 0 and 1"),
        (("--repeats", "0"), "repeats: got 0"),
        (("--baseline-repeats", "x"), "--baseline-repeats is 'x': expected a whole number in [1, 10000]"),
        (("--baseline-repeats", "10001"), "--baseline-repeats is '10001'"),
        (("--max-repeats", "1000000"), "max-repeats: got 1000000, expected a whole number in [1, 10000]"),
        (("--suite", "elsewhere"), "the suite is named twice"),
    ],
)
def test_wrong_flags_are_told_and_exit_2(place, flags, told):
    code, out, err = power(place, *flags)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize(
    ("keys", "flags", "most"),
    [
        ("", (), 3),
        ("", ("--repeats", "1"), 1),
        ("repeats = 1", (), 1),
        ("repeats = 1\nmax-repeats = 2", (), 2),
        ("max-repeats = 2", (), 2),
        ("max-repeats = 2", ("--max-repeats", "4"), 4),
        ("early-stop = false", (), 1),
        ("max-repeats = 2", ("--repeats", "5"), 5),
    ],
)
def test_the_most_answers_are_those_that_eval_would_ask(place, keys, flags, most):
    toml = (place.suite / "suite.toml").read_text()
    place.write_suite(toml=f"{keys}\n{toml}")
    told = json.loads(place.run("goldens", "power", place.suite, "--format", "json", *flags)[1])
    assert told["checks"][0]["most_repeats"] == most


def test_a_provider_that_answers_the_same_is_not_asked_twice(place, monkeypatch):
    monkeypatch.setenv("AIGATE_RECORDED", str(place.record("once", 90)))
    assert "up to" not in power(place)[1]
    monkeypatch.setenv("AIGATE_RECORDED", "elsewhere.jsonl")
    assert "up to 3 answers" in power(place)[1]
    toml = (place.suite / "suite.toml").read_text().replace('"replay"', '"extractive"')
    place.write_suite(toml=toml)
    assert "up to" not in power(place)[1]


def test_a_suite_that_cannot_block_is_told_no_figure(place):
    rows = [{"id": f"s{i:03}", "input": f"question {i}", "group": f"g{i % 3}"} for i in range(200)]
    place.write_suite(samples=rows)
    _, out, _ = power(place)
    assert "no pass is possible with fewer than 20 groups; no block is possible with fewer than 5 groups" in out
    assert "sees drops" not in out
    assert "are caught" not in out
    assert "3 none*" in out


def test_no_line_is_wide_or_ends_with_a_space(place):
    lines = place.run("goldens", "power", place.suite)[1].splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []


# --- the same, as notes of eval ---------------------------------------------------------------------------------------


def test_eval_and_power_judge_strictness_by_the_same_answers(place):
    (place.folder / "app.py").write_text("def answer(question):\n    return question\n")
    toml = (place.suite / "suite.toml").read_text().replace("recorded:correct", "exact_match")
    toml = toml.replace('"correct"', '"exact_match"').replace('provider = "replay"', 'provider = "callable"')
    rows = [{"id": f"s{i:03}", "input": f"q{i}", "reference": f"q{i}"} for i in range(320)]
    place.write_suite(toml=toml, samples=rows)
    for flags, code in (((), 0), (("--repeats", "1"), 2), (("--max-repeats", "1"), 2), (("--max-repeats", "2"), 0)):
        assert power(place, "--strict", *flags)[0] == code, flags
        asked = ("eval", "--suite", place.suite, "--target", "app:answer", "--out", place.folder / "out.jsonl")
        _, _, err = place.run(*asked, "--strict", "--quiet", *flags)
        assert ("strict: no-regression" in err) is (code == 2), (flags, err)
        assert (place.folder / "out.jsonl").exists() is (code == 0), flags
        (place.folder / "out.jsonl").unlink(missing_ok=True)


def test_a_new_provider_version_that_nobody_looks_at_is_noted_before_any_call(place):
    _, _, _, base = place.eval(place.record("base", 90), "--quiet")
    new = ("--version", "m/2/v1", "--baseline", base, "--quiet")
    code, _, err, _ = place.eval(place.record("next", 90), *new)
    assert code != 0
    note = "note: provider version changed (breaking) against the baseline, and no check looks at the output's contract"
    assert 0 <= err.find(note) < err.find("inconclusive".upper()), err
    toml = (place.suite / "suite.toml").read_text().replace("checks = [", 'checks = [\n  { check = "same-shape" },')
    place.write_suite(toml=toml)
    assert "(breaking) against the baseline" not in place.eval(place.record("other", 90), *new)[2]


def test_a_run_of_another_suite_is_refused(place, noisy):
    place.write_suite(samples=[{"id": "other", "input": "another question"}])
    code, _, err = power(place, "--baseline", noisy)
    assert code == 2
    assert "holds none of the samples of 'faq'" in err
