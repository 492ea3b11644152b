"""The main job from the command line: evaluate, promote, compare, decide again, report."""

import json
import subprocess
import sys

import pytest


def promoted(place, good=80):
    code, _, err, run = place.eval(place.record("base", good))
    assert code == 4, err  # no baseline yet: said, not passed
    code, _out, err = place.run("baseline", "promote", run, "--suite", place.suite)
    assert code == 0, err
    return run


def test_first_run_says_that_there_is_no_baseline_and_what_to_do(place):
    code, _, err, run = place.eval(place.record("base", 80))
    assert code == 4
    assert "no baseline to compare m/1/v1 with" in err
    told = f"next: give --baseline RUN, or promote a first baseline: aigate baseline promote {run}"
    assert told.replace(" ", "") in err.replace(" ", "")  # a long path is wrapped
    assert run.exists()


def test_promote_then_the_same_again_passes(place):
    promoted(place)
    code, _, err, _ = place.eval(place.record("again", 80))
    assert code == 0
    assert "PASS m/1/v1 against m/1/v1" in err


def test_a_worse_candidate_exits_1_and_shows_the_samples_that_moved(place):
    promoted(place)
    code, _, err, _ = place.eval(place.record("worse", 50))
    assert code == 1
    assert (
        err.index("FAIL m/1/v1 against m/1/v1")
        < err.index("correct fell by 30 points")
        < err.index("s050")
        < err.index("next:")
    )
    assert "answer 50 of base" in err
    assert "answer 50 of worse" in err


def test_threshold_is_said_first_and_decides(place):
    recorded = place.record("base", 80)
    place.eval(recorded)
    place.run("baseline", "promote", place.folder / "runs" / "base.jsonl", "--suite", place.suite)
    code, _, err, _ = place.eval(recorded, "--threshold", "0.80")
    assert code == 0
    assert "threshold 0.8 means: the mean of correct over all 100 samples" in err
    code, _, err, _ = place.eval(recorded, "--threshold", "0.81")
    assert code == 1
    assert "below the threshold 0.81" in err


def test_inconclusive_exits_3(place):
    promoted(place)
    code, _, err, _ = place.eval(place.record("slightly", 77))
    assert code == 3
    assert "INCONCLUSIVE" in err


def test_the_baseline_may_be_a_run_file(place):
    _, _, _, base = place.eval(place.record("base", 80))
    code, _, _, _ = place.eval(place.record("same", 80), "--baseline", base)
    assert code == 0


def test_gate_gives_the_same_verdict_byte_for_byte_as_eval(place):
    _, _, _, base = place.eval(place.record("base", 80))
    code, verdict, _, run = place.eval(
        place.record("worse", 60), "--baseline", base, "--threshold", "0.7", "--format", "json"
    )
    again, verdict_again, _ = place.run("gate", run, "--baseline", base, "--format", "json")
    assert verdict == verdict_again
    assert code == again == 1
    assert json.loads(verdict)["format"] == "aigate.verdict/1"


def test_gate_needs_no_network_and_no_suite(place):
    _, _, _, base = place.eval(place.record("base", 80))
    _, verdict, _, run = place.eval(place.record("worse", 60), "--baseline", base, "--format", "json")
    for path in (place.suite / "suite.toml", place.suite / "samples.jsonl"):
        path.unlink()
    blocked = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from aigate.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked, "gate", run, "--baseline", base, "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == verdict


def test_json_goes_to_standard_output_and_people_read_standard_error(place):
    promoted(place)
    _code, out, err, _ = place.eval(place.record("again", 80), "--format", "json")
    assert json.loads(out)["status"] == "pass"
    assert "PASS" in err
    assert place.eval(place.record("again2", 80))[1] == ""


def test_markdown_report_of_a_stored_run(place):
    base = promoted(place)
    _, _, _, run = place.eval(place.record("worse", 50))
    code, out, _ = place.run("report", run, "--baseline", base, "--format", "markdown")
    assert code == 0
    assert out.startswith("## ❌ FAIL m/1/v1 against m/1/v1")
    assert "answer 50 of worse" in out
    code, out, _ = place.run("report", run, "--baseline", base, "--format", "json")
    assert json.loads(out)["status"] == "fail"


def test_compare_shows_differences_and_decides_nothing(place):
    _, _, _, base = place.eval(place.record("base", 80))
    _, _, _, worse = place.eval(place.record("worse", 50))
    code, out, err = place.run("compare", base, worse, "--format", "json")
    assert code == 0
    rows = {(row["metric"], row["slice"]): row for row in json.loads(out)}
    assert rows["correct", None]["difference"] == pytest.approx(-0.3)
    assert rows["correct", "odd"]["n"] == 50
    assert "0.800 → 0.500" in err
    assert "FAIL" not in err
    assert err.startswith("m/1/v1 against m/1/v1")


def test_baseline_list_and_show_tell_what_was_promoted(place):
    promoted(place)
    code, out, _ = place.run("baseline", "list", "--suite", place.suite)
    assert code == 0
    assert out.startswith("main  m/1/v1")
    code, out, _ = place.run("baseline", "show", "--suite", place.suite)
    assert "100 samples x 1 repeat: 100 scored" in out
    assert "min-score correct" in out


def test_promote_refuses_a_worse_run_and_changes_nothing(place):
    base = promoted(place)
    before = {p.name: p.read_bytes() for p in (place.suite / "baselines").iterdir()}
    _, _, _, worse = place.eval(place.record("worse", 50))
    code, _, err = place.run("baseline", "promote", worse, "--suite", place.suite)
    assert code == 4
    assert "not promoted" in err
    assert {p.name: p.read_bytes() for p in (place.suite / "baselines").iterdir()} == before
    assert base.exists()


def test_promote_a_second_time_needs_the_whole_policy_and_is_written_down(place):
    promoted(place)
    _, _, _, better = place.eval(place.record("better", 95))
    assert place.run("baseline", "promote", better, "--suite", place.suite)[0] == 0
    lines = (place.suite / "baselines" / "history.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["replaced"] == json.loads(lines[0])["run_digest"]


def test_the_first_baseline_needs_a_min_score(place):
    place.write_suite(
        toml='version = "m/1/v1"\nprovider = "replay"\nscorers = ["recorded:correct"]\n'
        '[policy]\nchecks = [{ check = "no-regression", metric = "correct" }]\n'
    )
    _, _, _, run = place.eval(place.record("base", 80))
    code, _, err = place.run("baseline", "promote", run, "--suite", place.suite)
    assert code == 4
    assert "--threshold" in err
    assert place.run("baseline", "promote", run, "--suite", place.suite, "--threshold", "0.79")[0] == 0


def test_missing_recorded_answers_are_counted_and_named(place):
    recorded = place.record("base", 98, n=99)
    _code, _, err, _ = place.eval(recorded, "--threshold", "0.9")
    assert "1 infrastructure error" in err
    assert "s099" in err


def test_config_prints_each_value_with_its_origin(place, monkeypatch):
    monkeypatch.setenv("AIGATE_CONCURRENCY", "3")
    (place.folder / "pyproject.toml").write_text('[tool.aigate]\nsuite = "goldens/faq"\nretries = 2\n')
    code, out, _ = place.run("config")
    assert code == 0
    rows = {line.split("  ")[0]: line for line in out.splitlines()}
    assert "3  (AIGATE_CONCURRENCY)" in rows["concurrency"]
    assert "pyproject.toml [tool.aigate]" in rows["retries"]
    assert "suite.toml" in rows["provider"]
    assert "(default)" in rows["timeout-s"]


def test_goldens_check_describes_a_sound_suite(place):
    code, out, _ = place.run("goldens", "check", place.suite)
    assert code == 0
    assert "0 problems" in out


def test_goldens_import_writes_a_suite_file_that_loads(place):
    (place.folder / "faq.csv").write_text("question,answer\nWhen?,Now\nWhere?,Here\n")
    code, out, _ = place.run("goldens", "import", "faq.csv", "--out", "new/samples.jsonl")
    assert code == 0
    assert "2 samples" in out
    assert "input from 'question'" in out
    code, _, err = place.run("goldens", "import", "faq.csv", "--out", "new/samples.jsonl")
    assert code == 2
    assert "exists already" in err


def test_the_whole_thing_works_as_a_module_in_a_process(place):
    recorded = place.record("base", 80)
    command = [sys.executable, "-m", "aigate", "eval", "--suite", place.suite, "--recorded", recorded]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 120
    assert (place.folder / ".aigate" / "runs" / "faq" / "m_1_v1.jsonl").exists()


def test_resume_asks_only_for_what_is_missing(place):
    recorded = place.record("base", 80)
    _, _, _, run = place.eval(recorded)
    lines = run.read_text().splitlines(keepends=True)
    run.write_text("".join(lines[:41]))
    code, _, err, _ = place.eval(recorded, out=run)
    assert code == 2
    assert "interrupted run with 40 results" in err
    code, _, err, _ = place.eval(recorded, "--resume", out=run)
    assert code == 4
    assert "100 scored" in err


@pytest.mark.parametrize("command", ["eval", "gate", "compare", "baseline", "goldens", "report", "config"])
def test_every_command_explains_itself_with_an_example(place, command):
    code, out, _ = place.run(command, "--help")
    assert code == 0
    assert f"example: aigate {command}" in out


def test_classification_shows_run_metrics_and_the_confusion_matrix_and_gates_on_them(place):
    toml = """\
version = "m/1/v1"
provider = "replay"
scorers = [{ scorer = "classification", labels = ["yes", "no"] }]
[policy]
checks = [{ check = "min-score", metric = "accuracy.f1_macro", at-least = 0.9 }]
"""
    samples = [{"id": f"s{i:03}", "input": "?", "reference": "yes" if i < 80 else "no"} for i in range(100)]
    place.write_suite(toml=toml, samples=samples)
    path = place.folder / "always-yes.jsonl"
    path.write_text("".join(json.dumps({"id": row["id"], "output": "Yes."}) + "\n" for row in samples))
    code, out, err, _ = place.eval(path, "--format", "json")
    assert code == 1  # 80 % accurate, and blind to one class
    verdict = json.loads(out)
    assert verdict["metrics"]["accuracy"]["mean"] == pytest.approx(0.8)
    assert verdict["metrics"]["accuracy.f1_macro"]["value"] == pytest.approx((2 * 0.8 / 1.8) / 2)
    assert "accuracy: right \\ said yes no" in err
    assert "yes 80 0" in err
    assert "no 20 0" in err


def test_gate_uses_the_baseline_of_the_default_suite_when_that_is_what_the_run_ran(place):
    promoted(place)
    (place.folder / "pyproject.toml").write_text('[tool.aigate]\nsuite = "goldens/faq"\n')
    _, _, _, run = place.eval(place.record("again", 80))
    assert place.run("gate", run)[0] == 0
    place.write_suite(samples=[{"id": f"s{i:03}", "input": f"edited question {i}"} for i in range(100)])
    code, _, err = place.run("gate", run)
    assert code == 4
    assert "no baseline" in err


def test_the_report_is_not_padded_where_nobody_sees_a_terminal(place):
    _, _, _, run = place.eval(place.record("base", 80))
    command = [sys.executable, "-m", "aigate", "gate", run]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stderr.splitlines()
    assert lines
    assert all(line == line.rstrip() for line in lines)


def test_a_sample_as_bad_as_before_is_not_shown_as_one_that_moved(place):
    promoted(place, good=60)
    code, _, err, _ = place.eval(place.record("worse", 30))
    assert code == 1
    assert "s030 min-score correct 1 → 0" in err or "s030 no-regression correct 1 → 0" in err
    assert "s090" not in err
