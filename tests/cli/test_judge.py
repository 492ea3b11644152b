"""`aigate judge calibrate`: from answers and labels to a file that every run of the suite reads."""

import csv
import gzip
import json

import pytest

from aigate.testing import FakeJudge, LoopbackServer

TOML = """\
version = "m/1/v1"
provider = "replay"
scorers = ["grounding", "shape"]
primary-metric = "grounding"

[policy]
checks = [{ check = "no-regression", metric = "grounding", margin = 0.3 }]
"""


@pytest.fixture
def labelled(place):
    """A suite with answers that people called good or bad; grounding agrees with them nine times in ten."""
    samples = [
        {
            "id": f"s{i:03}",
            "input": "What is it?",
            "contexts": [f"The {word(i)} is kept in room {i}."],
            "tags": ["even" if i % 2 == 0 else "odd"],
            "group": f"doc{i % 40}",
            "metadata": {"verdict": "fine" if good(i) else "wrong"},
        }
        for i in range(120)
    ]
    place.write_suite(toml=TOML, samples=samples)
    rows = [
        {
            "id": f"s{i:03}",
            "output": f"The {word(i)} is kept in room {i}."
            if good(i) != (i % 10 == 0)
            else "Zebras whistle at 99 Nordic owls in Oslo.",
            "scores": {"human": float(good(i)), "graded": 0.9 if good(i) else 0.2},
        }
        for i in range(120)
    ]
    place.answers = place.folder / "answers.jsonl"
    place.answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def word(i):
    return f"w{'abcdefghij'[i % 10]}{'abcdefghijkl'[i // 10]}"


def good(i):
    return i % 3 > 0


def calibrate(place, *more, answers=None, scorer="grounding", human="human"):
    return place.run(
        *("judge", "calibrate", *(answers or [place.answers]), "--suite", place.suite),
        *("--scorer", scorer, "--human", human, *more),
    )


def stored(place, metric="grounding"):
    return json.loads((place.suite / "calibration" / f"{metric}.json").read_text())


def test_it_is_shown_and_stored(labelled):
    code, out, err = calibrate(labelled)
    assert (code, out) == (0, "")
    assert "grounding against scores.human" in err
    assert "J is 0.80" in err
    assert "may gate" in err
    found = stored(labelled)
    assert found["overall"]["n"] == 120
    assert found["overall"]["groups"] == 40
    assert set(found["slices"]) == {"even", "odd"}
    assert found["overall"]["sensitivity"]["value"] == pytest.approx(0.9, abs=0.01)


def test_every_run_of_the_suite_reads_it(labelled):
    calibrate(labelled)
    base = labelled.eval(labelled.answers)[-1]
    code, out, err, run = labelled.eval(
        labelled.answers, "--baseline", base, "--format", "json", out=labelled.folder / "again.jsonl"
    )
    assert code == 0, err
    verdict = json.loads(out)
    check = next(row for row in verdict["checks"] if row["check"] == "no-regression")
    assert check["details"]["as_people_judge"]["youden_j"] == stored(labelled)["overall"]["youden_j"]["value"]
    assert "as people judge sees" in err
    again = labelled.run("gate", run, "--baseline", base, "--format", "json")
    assert json.loads(again[1])["bound"] == verdict["bound"]


def test_gate_with_the_suite_takes_the_calibrations_that_it_has_now(labelled):
    base = labelled.eval(labelled.answers)[-1]
    calibrate(labelled)
    plain = labelled.run("gate", base, "--baseline", base)[2]
    now = labelled.run("gate", base, "--baseline", base, "--suite", labelled.suite)[2]
    assert "as people judge" not in plain
    assert "as people judge" in now


def test_a_weak_judge_stops_the_gate_and_is_accepted_by_name(labelled):
    rows = [json.loads(line) for line in labelled.answers.read_text().splitlines()]
    for i, row in enumerate(rows):
        row["scores"]["human"] = float(i % 2)  # what people say has nothing to do with the words
    labelled.answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = calibrate(labelled)
    assert code == 0
    assert "below 0.5: grounding may gate only where" in err
    base = labelled.eval(labelled.answers)[-1]
    code, _, err, _ = labelled.eval(labelled.answers, "--baseline", base, out=labelled.folder / "b.jsonl")
    assert code == 3
    assert "too weak to gate" in err
    labelled.suite.joinpath("suite.toml").write_text(
        TOML.replace("[policy]", '[policy]\naccept-weak-judge = "grounding"')
    )
    code, _, err, _ = labelled.eval(labelled.answers, "--baseline", base, out=labelled.folder / "c.jsonl")
    assert code == 0, err
    assert "and the policy accepts it" in err


def test_labels_may_stand_in_metadata_in_a_table_or_be_graded(labelled):
    code, _, err = calibrate(labelled, "--good", "fine", "--dry-run", human="metadata.verdict")
    assert code == 0, err
    assert "grounding against metadata.verdict" in err
    table = labelled.folder / "labels.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "ok"], *([f"s{i:03}", "yes" if good(i) else "no"] for i in range(100))])
    code, _, err = calibrate(labelled, "--labels", table, "--dry-run", human="ok")
    assert code == 0, err
    assert "labels.csv: ok" in err
    assert "note: 20 without a label" in err
    code, _, err = calibrate(labelled, "--good-at-least", "0.5", "--dry-run", human="graded")
    assert code == 0, err
    assert not (labelled.suite / "calibration").exists()


def test_several_files_and_compressed_ones_are_one_calibration(labelled):
    more = labelled.folder / "more.jsonl.gz"
    with gzip.open(more, "wb") as file:
        file.write(labelled.answers.read_bytes())
    assert calibrate(labelled, answers=[labelled.answers, more])[0] == 0
    assert (stored(labelled)["overall"]["n"], stored(labelled)["overall"]["groups"]) == (240, 40)


def test_a_run_file_is_answers_too(labelled):
    run = labelled.eval(labelled.answers)[-1]
    assert calibrate(labelled, answers=[run])[0] == 0
    assert stored(labelled)["overall"]["n"] == 120


def test_json_and_markdown(labelled):
    _, out, _ = calibrate(labelled, "--format", "json")
    assert json.loads(out) == stored(labelled)
    _, out, _ = calibrate(labelled, "--format", "markdown", "--threshold", "0.5")
    assert "| all | 120 | 40 | 67% |" in out
    assert "good is a score of at least 0.5 (as given)" in out


def test_a_recorded_score_can_be_the_judge(labelled):
    assert calibrate(labelled, scorer="recorded:graded")[0] == 0
    assert stored(labelled, "graded")["overall"]["youden_j"]["value"] == 1.0


def test_a_model_judge_is_asked_and_paid_once(labelled):
    judge = FakeJudge(
        {
            "faithfulness_claims": lambda asked: {
                "sentences": [{"id": s["id"], "claims": [s["text"]]} for s in asked.data["sentences"]]
            },
        }
    )
    with LoopbackServer(judge) as server:
        options = ("--judge", "j/1/v1", "--judge-base-url", server.base_url, "--judge-api-key-env", "", "--max-calls")
        code, _, err = calibrate(labelled, *options, "3", "--quiet", scorer="faithfulness")
        assert len(server.requests) <= 3
    assert code == 4, err  # a cap, or a judge that answers nothing usable: never a calibration
    assert not (labelled.suite / "calibration").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--good", "x", "--good-at-least", "1"), 2, "--good and --good-at-least are both given"),
        (("--threshold", "0.5", "--specificity", "0.9"), 2, "--threshold and --specificity are both given"),
        (("--threshold", "2"), 2, "--threshold is 2: expected a number between 0 and 1"),
        (("--specificity", "much"), 2, "--specificity is 'much': expected a number"),
        (("--human", "graded"), 2, "the label is 0.2, expected 0 or 1"),
        (("--human", "nobody"), 2, "0 of 0 scored answers are labelled good, 10 at least are needed"),
        (("--scorer", "groundin"), 2, "did you mean 'grounding'?"),
        (("--labels", "missing.csv"), 2, "no such file"),
        (("--human", "metadata.verdict"), 2, "the label is 'wrong', expected 0 or 1"),
    ],
)
def test_what_cannot_be_is_refused(labelled, arguments, code, message):
    got, _, err = calibrate(labelled, *arguments)
    assert got == code, err
    assert message in err
    assert not (labelled.suite / "calibration").exists()


def test_files_that_hold_no_answers_to_the_suite_are_refused(labelled):
    code, _, err = calibrate(labelled, answers=[labelled.folder / "nowhere.jsonl"])
    assert (code, "no such file" in err) == (4, True)
    other = labelled.folder / "other.jsonl"
    other.write_text('{"id": "x", "output": "y", "scores": {"human": 1.0}}\n')
    code, _, err = calibrate(labelled, answers=[other])
    assert (code, "answers none of the 120 samples" in err) == (2, True)


def test_an_edited_calibration_stops_every_run(labelled):
    calibrate(labelled)
    path = labelled.suite / "calibration" / "grounding.json"
    path.write_text(path.read_text().replace('"cut":', '"cut" :').replace('"good": 80', '"good": 81'))
    code, _, err, _ = labelled.eval(labelled.answers)
    assert code == 2
    assert "no calibration: edited" in err
    code, out, _ = labelled.run("goldens", "check", labelled.suite)
    assert code == 2
    assert "no calibration: edited" in out
