"""One wrong thing each: its exit code, what the message names, and the next step."""

import json

import pytest


def toml(place, old, new):
    path = place.suite / "suite.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def runs(place, base=80, candidate=80):
    _, _, _, first = place.eval(place.record("base", base))
    _, _, _, second = place.eval(place.record("candidate", candidate))
    return first, second


def test_empty_suite(place):
    (place.suite / "samples.jsonl").write_text("")
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "samples.jsonl:1" in err


def test_duplicate_id_names_both_lines(place):
    rows = [{"id": "a", "input": "x"}, {"id": "b", "input": "y"}, {"id": "a", "input": "z"}]
    place.write_suite(samples=rows)
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "samples.jsonl:3: duplicate id 'a' (first on line 1)" in err


def test_unknown_key_in_suite_toml_names_the_nearest(place):
    toml(place, "primary-metric", "primary-metrc")
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "unknown key 'primary-metrc'" in err
    assert "did you mean 'primary-metric'?" in err


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("at-least", "at-lest", "did you mean 'at-least'?"),
        ("no-regression", "no-regresion", "did you mean 'no-regression'?"),
        ("[policy]", "[policy]\nalfa = 0.05", "did you mean 'alpha'?"),
        ("at-least = 0.5", 'at-least = "half"', "expected a number"),
        ("at-least = 0.5", "at-least = 85", "[0, 1]"),
    ],
)
def test_wrong_policy(place, old, new, named):
    toml(place, old, new)
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "suite.toml" in err
    assert named in err


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "85", "nan", "high"])
def test_threshold_outside_0_and_1(place, threshold):
    code, _, err, _ = place.eval(place.record("base", 80), f"--threshold={threshold}")
    assert code == 2
    assert "threshold" in err
    assert "[0, 1]" in err


def test_threshold_from_the_environment_is_checked_too(place, monkeypatch):
    monkeypatch.setenv("AIGATE_THRESHOLD", "85")
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "AIGATE_THRESHOLD" in err


def test_metric_that_no_scorer_computes(place):
    toml(place, 'metric = "correct", at-least', 'metric = "corect", at-least')
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "'corect', which no scorer computes" in err
    assert "did you mean 'correct'?" in err


def test_renamed_metric_between_runs(place):
    base, _ = runs(place)
    toml(
        place,
        'scorers = ["recorded:correct", "shape"]',
        'scorers = [{ scorer = "recorded:correct", metric = "right" }, "shape"]',
    )
    text = (place.suite / "suite.toml").read_text().replace('"correct"', '"right"')
    (place.suite / "suite.toml").write_text(text)
    code, _, err, _ = place.eval(place.record("new", 80), "--baseline", base)
    assert code == 4
    assert "'right' was not computed in the baseline" in err


def test_truncated_run_file(place):
    base, candidate = runs(place)
    text = candidate.read_text()
    candidate.write_text(text[: len(text) // 2])
    code, _, err = place.run("gate", candidate, "--baseline", base)
    assert code == 4
    assert "interrupted" in err
    assert "--resume" in err


def test_tampered_score(place):
    base, candidate = runs(place, candidate=20)
    candidate.write_text(candidate.read_text().replace('"correct":{"value":0.0', '"correct":{"value":1.0'))
    code, _, err = place.run("gate", candidate, "--baseline", base)
    assert code == 4
    assert "altered after it was closed" in err


def test_tampered_digest(place):
    base, candidate = runs(place)
    lines = candidate.read_text().splitlines(keepends=True)
    lines[-1] = lines[-1].replace('"digest":"sha256:', '"digest":"sha256:0', 1)
    candidate.write_text("".join(lines))
    code, _, err = place.run("gate", candidate, "--baseline", base)
    assert code == 4
    assert "altered" in err


def test_newer_run_format(place):
    base, candidate = runs(place)
    candidate.write_text(candidate.read_text().replace("aigate.run/1", "aigate.run/2", 1))
    code, _, err = place.run("gate", candidate, "--baseline", base)
    assert code == 4
    assert "aigate.run/2" in err


def test_baseline_swapped_behind_the_history(place):
    base, _ = runs(place)
    place.run("baseline", "promote", base, "--suite", place.suite)
    _, _, _, worse = place.eval(place.record("worse", 60))
    (place.suite / "baselines" / "main.jsonl").write_bytes(worse.read_bytes())
    code, _, err, _ = place.eval(place.record("again", 60))
    assert code == 4
    assert "was promoted last" in err


def test_run_of_another_suite(place):
    base, _ = runs(place)
    place.write_suite(samples=[{"id": f"s{i:03}", "input": f"another question {i}"} for i in range(100)])
    code, _, err, _ = place.eval(place.record("candidate", 80), "--baseline", base)
    assert code == 4
    assert "are the same in both runs" in err


def test_missing_baseline_file(place):
    code, _, err, _ = place.eval(place.record("base", 80), "--baseline", "nowhere.jsonl")
    assert code == 4
    assert "nowhere.jsonl" in err


def test_unknown_baseline_name(place):
    code, _, err, _ = place.eval(place.record("base", 80), "--baseline", "release")
    assert code == 4
    assert "no baseline 'release'" in err


def test_unknown_provider_names_the_nearest(place):
    code, _, err = place.run("eval", "--suite", place.suite, "--provider", "opnai")
    assert code == 2
    assert "unknown provider 'opnai'" in err
    assert "did you mean 'openai'?" in err


def test_missing_key(place):
    code, _, err = place.run("eval", "--suite", place.suite, "--provider", "openai")
    assert code == 2
    assert "OPENAI_API_KEY" in err


def test_unknown_scorer_names_the_nearest(place):
    toml(place, '"shape"', '"shap"')
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "did you mean 'shape'?" in err


def test_prompt_edited_under_the_same_version(place):
    (place.suite / "prompts").mkdir()
    prompt = place.suite / "prompts" / "v1.md"
    prompt.write_text("Answer: {{ input }}\n")
    base, _ = runs(place)
    prompt.write_text("Answer in one word: {{ input }}\n")
    code, _, err, _ = place.eval(place.record("new", 80), "--baseline", base)
    assert code == 4
    assert "prompts/v1.md was edited under the same version" in err


def test_prompt_version_that_does_not_exist(place):
    (place.suite / "prompts").mkdir()
    (place.suite / "prompts" / "v2.md").write_text("{{ input }}\n")
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "v2" in err


def test_all_answers_errored(place):
    rows = [{"id": f"s{i:03}", "error": "503 overloaded"} for i in range(100)]
    path = place.folder / "down.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err, _ = place.eval(path)
    assert code == 4
    assert "not one of 100 calls was answered" in err
    assert "503 overloaded" in err


def test_every_score_missing(place):
    rows = [{"id": f"s{i:03}", "output": "yes", "scores": {"other": 1.0}} for i in range(100)]
    path = place.folder / "unlabelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err, _ = place.eval(path)
    assert code == 4
    assert "100 of 100 scores of 'correct' are missing" in err


def test_wrong_served_model(place):
    toml(place, '"m/1/v1"', '"gpt-4o/2024-11-20/v1"')
    code, _, err, _ = place.eval(place.record("base", 80, served_model="gpt-4o-2024-08-06"), "--threshold", "0.1")
    assert code == 4
    assert "declared gpt-4o/2024-11-20/v1, served gpt-4o-2024-08-06" in err


def test_bad_version(place):
    code, _, err, _ = place.eval(place.record("base", 80), "--version", "gpt-4o")
    assert code == 2
    assert "gpt-4o/2024-11-20/v3" in err


def test_broken_line_in_a_recording_names_file_and_line(place):
    path = place.record("base", 80)
    path.write_text(path.read_text() + "{broken\n")
    code, _, err, _ = place.eval(path)
    assert code == 2
    assert "base.jsonl:101" in err


def test_unknown_flag_and_command(place):
    code, _, err = place.run("eval", "--treshold", "0.9")
    assert code == 2
    assert "did you mean '--threshold'?" in err
    assert place.run("evaluate")[0] == 2
    assert place.run()[0] == 2


def test_no_suite_is_named(place):
    code, _, err = place.run("eval")
    assert code == 2
    assert "--suite" in err


def test_suite_folder_that_does_not_exist(place):
    code, _, err = place.run("eval", "--suite", place.folder / "goldens" / "fqa")
    assert code == 2
    assert "faq" in err


def test_out_is_never_the_baseline(place):
    base, _ = runs(place)
    before = base.read_bytes()
    code, _, _, _ = place.eval(place.record("new", 80), "--baseline", base, out=base)
    assert code == 2
    assert base.read_bytes() == before


def test_out_is_never_something_else_than_a_run(place):
    notes = place.folder / "notes.txt"
    notes.write_text("precious\n")
    code, _, _, _ = place.eval(place.record("new", 80), out=notes)
    assert code == 2
    assert notes.read_text() == "precious\n"


def test_no_policy_and_no_threshold(place):
    place.write_suite(toml='version = "m/1/v1"\nprovider = "replay"\nscorers = ["recorded:correct"]\n')
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "--threshold" in err
    code, _, err, _ = place.eval(place.record("base", 80), "--threshold", "0.8")
    assert code == 0


def test_policy_with_no_checks(place):
    place.write_suite(
        toml='version = "m/1/v1"\nprovider = "replay"\nscorers = ["recorded:correct"]\n[policy]\nchecks = []\n'
    )
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "at least one check" in err


def test_a_subset_cannot_pass_nor_become_the_baseline(place):
    code, _, _, run = place.eval(place.record("base", 100), "--threshold", "0.5", "--limit", "60")
    assert code != 0
    code, _, err = place.run("baseline", "promote", run, "--suite", place.suite)
    assert code == 4
    assert "subset" in err


def test_goldens_check_reports_problems_with_exit_2(place):
    (place.suite / "samples.jsonl").write_text('{"id": "a"}\n{"id": "b", "input": "x", "refrence": "y"}\n')
    code, out, _ = place.run("goldens", "check", place.suite)
    assert code == 2
    assert "samples.jsonl:1" in out
    assert "did you mean 'reference'" in out


def test_goldens_check_reads_scorers_and_policy_too(place):
    toml(place, "at-least = 0.5", "at-least = 5")
    code, out, _ = place.run("goldens", "check", place.suite)
    assert code == 2
    assert "[0, 1]" in out
