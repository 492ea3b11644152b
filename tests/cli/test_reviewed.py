"""What a review found from the command line: each of it with its exit code and message."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest


def shell(place, command, **env):
    """Run a shell line in the workplace; `aigate` is this program."""
    line = command.replace("aigate", f"{sys.executable} -m aigate")
    return subprocess.run(
        ["bash", "-c", line], cwd=place.folder, capture_output=True, text=True, check=False, env={**os.environ, **env}
    )


def finished(place, good=80):
    return place.eval(place.record("base", good))[3]


def test_resume_does_not_build_on_a_finished_run_that_was_altered(place):
    recorded = place.record("base", 40)
    run = place.eval(recorded, "--threshold", "0.5")[3]
    run.write_text(run.read_text().replace('"correct":{"value":0.0', '"correct":{"value":1.0'))
    code, _, err, _ = place.eval(recorded, "--threshold", "0.5", "--resume", out=run)
    assert code == 4
    assert "altered after it was closed" in err


@pytest.mark.parametrize("command", ["gate", "report"])
def test_a_run_is_not_judged_by_another_suite(place, command):
    run = finished(place)
    place.write_suite(samples=[{"id": f"s{i:03}", "input": f"question {i}", "reference": "x"} for i in range(100)])
    code, _, err = place.run(command, run, "--suite", place.suite)
    assert code == 4
    assert "'faq' now is" in err


def test_a_lost_baseline_is_lost_not_new(place):
    run = finished(place)
    place.run("baseline", "promote", run, "--suite", place.suite)
    (place.suite / "baselines" / "main.jsonl").unlink()
    worse = place.eval(place.record("worse", 50), "--threshold", "0.1")
    assert worse[0] == 4
    assert "main.jsonl" in worse[2]
    other = place.eval(place.record("w2", 50), "--baseline", run)[3]
    code, _, _ = place.run("baseline", "promote", other, "--suite", place.suite, "--threshold", "0.1")
    assert code == 4
    assert not (place.suite / "baselines" / "main.jsonl").exists()


def test_promoting_the_same_run_again_changes_nothing(place):
    run = finished(place)
    assert place.run("baseline", "promote", run, "--suite", place.suite)[0] == 0
    before = (place.suite / "baselines" / "history.jsonl").read_bytes()
    assert place.run("baseline", "promote", run, "--suite", place.suite)[0] == 0
    assert (place.suite / "baselines" / "history.jsonl").read_bytes() == before


def test_an_edited_prompt_is_seen_where_the_policy_compares_nothing(place):
    toml = 'version = "m/1/v1"\nprovider = "replay"\nscorers = ["recorded:correct"]\n'
    place.write_suite(toml=toml + '[policy]\nchecks = [{ check = "min-score", metric = "correct", at-least = 0.5 }]\n')
    (place.suite / "prompts").mkdir()
    (place.suite / "prompts" / "v1.md").write_text("{{ input }}\n")
    run = finished(place)
    assert place.run("baseline", "promote", run, "--suite", place.suite)[0] == 0
    (place.suite / "prompts" / "v1.md").write_text("Be brief. {{ input }}\n")
    code, _, err, _ = place.eval(place.record("again", 90))
    assert code == 4
    assert "edited under the same version" in err


def test_a_threshold_that_weakens_the_policy_is_said(place, monkeypatch):
    monkeypatch.setenv("AIGATE_THRESHOLD", "0.01")
    _, _, err, _ = place.eval(place.record("base", 80))
    assert "the threshold 0.01 took the place of 0.5" in err
    monkeypatch.setenv("AIGATE_THRESHOLD", "0.6")
    assert "took the place" not in place.eval(place.record("base2", 80))[2]


def test_the_default_scorer_is_exact_match(place):
    place.write_suite(
        toml='version = "m/1/v1"\nprovider = "replay"\n',
        samples=[{"id": f"s{i:03}", "input": "?", "reference": f"answer {i} of base"} for i in range(100)],
    )
    code, _, err, _ = place.eval(place.record("base", 80), "--threshold", "1")
    assert code == 0, err
    assert "exact_match" in err


@pytest.mark.parametrize(
    "check",
    [
        '{ check = "no-regression", metric = "accuracy.f1_macro" }',
        '{ check = "must-pass", tag = "odd", metric = "accuracy.f1_macro" }',
    ],
)
def test_checks_that_need_a_score_per_sample_refuse_a_number_over_the_run(place, check):
    place.write_suite(
        toml=f'version = "m/1/v1"\nprovider = "replay"\nscorers = ["classification"]\n[policy]\nchecks = [{check}]\n'
    )
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "needs a score per sample" in err


@pytest.mark.parametrize("out", ["/proc/x/run.jsonl", "base.jsonl/run.jsonl", "x" * 300 + ".jsonl", "/dev/null"])
def test_an_out_that_cannot_be_written_is_a_usage_error(place, out):
    code, _, err, _ = place.eval(place.record("base", 80), out=out)
    assert code == 2
    assert "choose another --out" in err


def test_valid_days_are_bounded(place):
    path = place.suite / "suite.toml"
    path.write_text(path.read_text().replace("[policy]", "[policy]\nvalid-days = 100000000000"))
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "valid-days" in err


def test_an_argument_a_scorer_does_not_take_is_refused(place):
    path = place.suite / "suite.toml"
    path.write_text(path.read_text().replace('"shape"', '"shape:deep"'))
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 2
    assert "takes no ':deep'" in err


@pytest.mark.parametrize("redirect", [">&-", ">/dev/full"])
def test_a_document_that_cannot_be_delivered_is_no_pass(place, redirect):
    run = finished(place)
    done = shell(place, f"aigate gate {run} --baseline {run} --format json {redirect}")
    assert done.returncode in {2, 4}
    assert "Traceback" not in done.stderr


def test_a_closed_standard_error_does_not_change_the_verdict(place):
    run = finished(place)
    done = shell(place, f"aigate gate {run} --baseline {run} --format json 2>&-")
    assert done.returncode == 0
    assert json.loads(done.stdout)["status"] == "pass"


@pytest.mark.parametrize(("good", "code"), [(30, 1), (80, 4)])
def test_a_standard_error_that_cannot_be_written_leaves_a_failure_one_and_takes_a_pass_back(place, good, code):
    base, run = finished(place), place.eval(place.record("now", good))[3]
    assert place.run("gate", run, "--baseline", base)[0] == (1 if good == 30 else 0)
    done = shell(place, f"aigate gate {run} --baseline {base} 2>/dev/full")
    assert done.returncode == code


def test_a_failure_whose_report_nobody_reads_to_its_end_is_still_one(place):
    base, recorded = finished(place), place.record("now", 30)
    line = f"aigate eval --suite {place.suite} --recorded {recorded} --baseline {base} --out now-run.jsonl"
    done = shell(place, f"{line} 2>&1 | head -1 >head.txt; echo ${{PIPESTATUS[0]}}")
    assert done.stdout.strip() == "1"
    assert (place.folder / "now-run.jsonl").exists()


def test_an_error_that_cannot_be_told_keeps_its_exit_code(place):
    (place.suite / "suite.toml").write_text("no TOML")
    done = shell(place, f"aigate config --suite {place.suite} 2>/dev/full")
    assert done.returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_encoding_of_standard_output_can_show_the_report(place, encoding):
    run = finished(place)
    done = shell(place, f"aigate report {run} --baseline {run}", PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_broken_pipe_is_no_traceback(place):
    run = finished(place)
    done = shell(place, f"aigate report {run} --baseline {run} | head -c 1")
    assert "Traceback" not in done.stderr


def test_a_folder_of_the_baselines_name_is_not_taken_for_it(place):
    (place.folder / "main").mkdir()
    code, _, err, _ = place.eval(place.record("base", 80))
    assert code == 4
    assert "no baseline to compare" in err


def test_two_runs_with_one_out_do_not_write_over_each_other(place):
    import fcntl

    recorded = place.record("base", 80)
    out = place.eval(recorded)[3]
    with out.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, _, err, _ = place.eval(recorded, out=out)
    assert code == 2
    assert "another aigate is writing it" in err


@pytest.mark.parametrize("how_sigint", [signal.SIG_DFL, signal.SIG_IGN], ids=["foreground", "background"])
def test_sigterm_ends_a_busy_run_cleanly_and_leaves_it_resumable(place, how_sigint):
    (place.folder / "bot.py").write_text("async def answer(text):\n    return 'x'\n")
    out = place.folder / "busy.jsonl"
    command = [sys.executable, "-m", "aigate", "eval", "--suite", place.suite, "--target", "bot.py:answer"]
    command += ["--version", "bot/1/v1", "--repeats", "10000", "--out", out]
    before = signal.signal(signal.SIGINT, how_sigint)  # a process begins with what its parent has
    process = subprocess.Popen(command, cwd=place.folder, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (out.exists() and out.stat().st_size > 100_000):
        time.sleep(0.05)
    if how_sigint is signal.SIG_IGN:  # as a shell starts it with `&`: Ctrl-C is meant for others
        process.send_signal(signal.SIGINT)
        size = out.stat().st_size
        while process.poll() is None and time.monotonic() < deadline and out.stat().st_size < size + 100_000:
            time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"--resume --out {out}" in err


def test_names_with_escape_sequences_do_not_reach_the_terminal(place):
    code, _, err = place.run("gate", "no\x1b[31mpe.jsonl")
    assert code == 4
    assert "\x1b" not in err


@pytest.mark.parametrize("arguments", [("compare", "one.jsonl"), ("report", "one.jsonl", "--samples", "-5")])
def test_small_wrong_numbers_are_refused(place, arguments):
    code, _, err = place.run(*arguments)
    assert code == 2
    assert "compare(" not in err


# --- the second round -----------------------------------------------------------------------------------------------


def test_the_environment_cannot_lower_the_bar_of_gate_or_promote(place, monkeypatch):
    monkeypatch.setenv("AIGATE_THRESHOLD", "0.0")
    run = place.eval(place.record("bad", 10), "--threshold", "0.5")[3]
    assert place.run("gate", run, "--suite", place.suite)[0] == 1
    assert place.run("baseline", "promote", run, "--suite", place.suite)[0] == 4


def test_a_flag_that_lowers_the_bar_is_said_by_gate_and_refused_by_promote(place):
    run = place.eval(place.record("bad", 10), "--threshold", "0.5")[3]
    _, _, err = place.run("gate", run, "--suite", place.suite, "--threshold", "0.05")
    assert "the threshold 0.05 took the place of 0.5" in err
    code, _, err = place.run("baseline", "promote", run, "--suite", place.suite, "--threshold", "0.05")
    assert code == 4
    assert "is lower than the 0.5" in err


def test_a_lowered_threshold_stands_in_the_verdict_of_eval_and_of_gate(place):
    _, verdict, _, run = place.eval(place.record("bad", 10), "--threshold", "0.05", "--format", "json")
    assert "threshold-lowered" in {r["code"] for c in json.loads(verdict)["checks"] for r in c["reasons"]}
    assert place.run("gate", run, "--format", "json")[1] == verdict


def test_the_first_baseline_needs_a_min_score_that_can_fail(place):
    place.write_suite(toml='version = "m/1/v1"\nprovider = "replay"\nscorers = ["recorded:correct"]\n')
    run = place.eval(place.record("bad", 0), "--threshold", "0")[3]
    code, _, err = place.run("baseline", "promote", run, "--suite", place.suite, "--threshold", "0")
    assert code == 4
    assert "one that can fail" in err


def grown(place, n=140):
    """The suite with more samples than 90 % overlap allows, a promoted baseline of the smaller one, and a new run."""
    run = finished(place)
    assert place.run("baseline", "promote", run, "--suite", place.suite)[0] == 0
    place.write_suite(n=n)
    code, _, err, run = place.eval(place.record("grown", n - 10, n=n))
    assert code == 4
    assert "--new-line WHY" in err
    return run


def test_a_suite_that_grew_begins_a_new_line_and_says_why_in_its_history(place):
    run = grown(place)
    assert place.run("baseline", "promote", run, "--suite", place.suite)[0] == 4
    code, _, err = place.run("baseline", "promote", run, "--suite", place.suite, "--new-line", "40 new questions")
    assert code == 0, err
    last = json.loads((place.suite / "baselines" / "history.jsonl").read_text().splitlines()[-1])
    assert last["new_line"] == "40 new questions"
    assert place.eval(place.record("again", 130, n=140))[0] == 0


def test_a_new_line_still_needs_the_min_score(place):
    grown(place)
    bad = place.eval(place.record("bad", 20, n=140))[3]
    code, _, err = place.run("baseline", "promote", bad, "--suite", place.suite, "--new-line", "why not")
    assert code == 4
    assert "not promoted" in err


def test_a_new_line_is_no_way_around_a_comparison_that_can_be_made(place):
    place.run("baseline", "promote", finished(place), "--suite", place.suite)
    worse = place.eval(place.record("worse", 55))[3]
    code, _, err = place.run("baseline", "promote", worse, "--suite", place.suite, "--new-line", "looks fine")
    assert code == 4
    assert "can be compared" in err


def test_a_promotion_that_broke_off_is_finished_by_promoting_the_same_run_again(place):
    run = finished(place)
    place.run("baseline", "promote", run, "--suite", place.suite)
    (place.suite / "baselines" / "main.jsonl").unlink()
    code, _, err, _ = place.eval(place.record("again", 80))
    assert code == 4
    assert "is lost" in err
    assert place.run("baseline", "promote", run, "--suite", place.suite)[0] == 0
    assert place.eval(place.record("again2", 80))[0] == 0


def test_threshold_keeps_the_other_options_of_the_policys_min_score(place):
    path = place.suite / "suite.toml"
    text = path.read_text().replace("at-least = 0.5", "at-least = 0.5, applicable-only = true")
    path.write_text(text.replace('"recorded:correct"', '{ scorer = "exact_match", metric = "correct" }'))
    rows = [
        {"id": f"s{i:03}", "input": "?", **({"reference": f"answer {i} of base"} if i < 80 else {})} for i in range(100)
    ]
    (place.suite / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _, _ = place.eval(place.record("base", 80), "--threshold", "0.9", "--format", "json")
    check = next(check for check in json.loads(out)["checks"] if check["check"] == "min-score")
    assert (check["status"], check["n_samples"]) == ("pass", 80)
    assert code == 4  # no baseline yet


def test_resume_goes_on_after_a_change_of_policy(place):
    recorded = place.record("base", 80)
    run = place.eval(recorded)[3]
    run.write_text("".join(run.read_text().splitlines(keepends=True)[:41]))
    code, _, err, _ = place.eval(recorded, "--resume", "--threshold", "0.7", out=run)
    assert code == 4
    assert "threshold 0.7 means" in err
    assert "100 scored" in err


def test_the_run_before_is_not_set_aside_over_the_baseline(place):
    recorded = place.record("base", 80)
    out = place.eval(recorded)[3]
    place.eval(recorded, out=out)
    before = out.with_name(f"{out.name}.previous")
    kept = before.read_bytes()
    code, _, err, _ = place.eval(recorded, "--baseline", before, out=out)
    assert code == 2
    assert "write over the baseline" in err
    assert before.read_bytes() == kept


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"provider":{', '"provider":2,"was":{'),
        ('"policy":{', '"policy":0,"was":{'),
        ('"scorer":"recorded:correct"', '"scorer":7'),
        ('"output":"answer 1 of base"', '"output":5'),
        ('"tags":["odd"]', '"tags":"odd"'),
        ('"input":"question 1"', '"input":9'),
    ],
)
def test_a_sealed_run_with_wrong_types_is_refused_not_a_traceback(place, old, new):
    from aigate.core.digest import combined_digest, digest_of, json_line, sha256_text

    run = finished(place)
    lines = run.read_text().splitlines()
    changed = [line.replace(old, new, 1) for line in lines[:-1]]
    assert changed != lines[:-1]
    closing = json.loads(lines[-1])["closing"]
    closing.pop("digest")
    parts = ["header:" + sha256_text(changed[0]), *map(sha256_text, changed[1:]), "closing:" + digest_of(closing)]
    whole = [*changed, json_line({"closing": {**closing, "digest": combined_digest(parts)}})]
    run.write_text("\n".join(whole) + "\n")
    code, _, err = place.run("gate", run)
    assert code == 4
    assert "defect of aigate" not in err
    assert "broken" in err


def test_a_defect_of_ours_is_no_verdict(place, monkeypatch):
    run = finished(place)
    monkeypatch.setattr("aigate.storing.runs.read_run", lambda *a, **k: 1 / 0)
    code, _, err = place.run("gate", run)
    assert code == 4
    assert "ZeroDivisionError" in err
    assert "a defect of aigate" in err


def test_the_command_line_can_be_called_from_a_thread(place):
    import threading

    codes = []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: codes.append(place.run("config", "--suite", place.suite)[0]))
    thread.start()
    thread.join()
    assert codes == [0]
    assert place.run("config", "--suite", place.suite)[0] == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_baseline_that_is_named_and_not_there_is_said(place):
    toml = 'version = "m/1/v1"\nprovider = "replay"\nscorers = ["recorded:correct"]\nbaseline = "release"\n'
    place.write_suite(toml=toml)
    _, _, err, _ = place.eval(place.record("base", 80), "--threshold", "0.5")
    assert "names the baseline 'release', which does not exist" in err


def test_goldens_check_warns_of_a_check_that_can_never_pass(place):
    place.write_suite(n=40)
    code, out, _ = place.run("goldens", "check", place.suite)
    assert code == 0
    assert "no-regression correct can never pass: 59 samples" in out
    whole = json.loads(place.run("goldens", "check", place.suite, "--format", "json")[1])
    assert any("can never pass" in warning for warning in whole["warnings"])
    place.write_suite(n=60)
    assert "can never pass" not in place.run("goldens", "check", place.suite)[1]


@pytest.mark.parametrize(
    "flags",
    [
        ("--provider", "extractive", "--base-url", "http://127.0.0.1:9"),
        ("--target", "bot:answer", "--model", "x"),
        ("--provider", "openai"),
    ],
)
def test_flags_of_two_providers_are_refused_not_ignored(place, flags):
    more = ("--recorded", place.record("base", 80)) if flags == ("--provider", "openai") else ()
    code, _, err = place.run("eval", "--suite", place.suite, *flags, *more)
    assert code == 2
    assert "different providers" in err


def test_an_endpoint_implies_the_provider_that_has_one(place):
    code, _, err = place.run("eval", "--suite", place.suite, "--base-url", "http://127.0.0.1:9")
    assert code == 2
    assert "OPENAI_API_KEY" in err
