"""A judge that changed voids a comparison; one that scatters does not."""

from dataclasses import replace

import pytest

from aigate.core.response import Response
from aigate.core.run import AnchorScore, AnchorsJudged, JudgeUse
from aigate.core.score import MetricSpec, Score
from aigate.core.verdict import Status
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.testing import fake_embeddings_identity, fake_judge_identity

POLICY = Policy((NoRegression("faith", margin=0.2),))
IDS = [f"s{i:02}" for i in range(40)]


def spec(**fields):
    judge = fake_judge_identity(version="j/1/v1", **fields).identity({"claims": "sha256:0"})
    return MetricSpec("faith", "faithfulness", deterministic=False, judge=judge)


@pytest.fixture
def run_of(make_run):
    def make(scores, *, served="j-1", anchors=None, outputs=None, steering=(), version="m/1/v1", **fields):
        run = make_run(
            {"faith": {id_: [score] for id_, score in zip(IDS, scores, strict=True)}},
            specs=[spec(**fields)],
            version=version,
            outputs=outputs,
        )
        use = JudgeUse(calls=2, served_models=(served,) if served else ())
        results = tuple(
            replace(r, judging={"faith": replace(use, steering=("forges a reply",) if r.sample_id in steering else ())})
            for r in run.results
        )
        judged = {} if anchors is None else {"faith": AnchorsJudged(tuple(anchors), use)}
        return replace(run, results=results, judge_anchors=judged)

    return make


def anchors_of(scores, labels=None, digest="d"):
    labels = labels or [1.0] * len(scores)
    return [
        AnchorScore(f"a{i}", f"{digest}{i}", label, score, "" if score is not None else "broke")
        for i, (score, label) in enumerate(zip(scores, labels, strict=True))
    ]


def outcome(candidate, baseline, check="judge-sound", policy=POLICY):
    verdict = gate(candidate, policy, baseline=baseline)
    return next(found for found in verdict.checks if found.check == check), verdict


def codes(found):
    return {why.code for why in found.reasons}


GOOD = [1.0] * 40


def test_a_judge_that_is_the_same_is_sound(run_of):
    both = [run_of(GOOD, anchors=anchors_of([1.0] * 12)) for _ in range(2)]
    found, verdict = outcome(*both)
    assert (found.status, verdict.status) == (Status.PASS, Status.PASS)
    assert found.summary == "faith judged by j/1/v1, agrees on 12 of 12 labelled answers (baseline: 12 of 12)"


def test_runs_without_a_judge_have_no_such_rule(make_run):
    run = make_run({"faith": {id_: [1.0] for id_ in IDS}})
    assert all(check.check != "judge-sound" for check in gate(run, POLICY, baseline=run).checks)


def test_another_model_than_the_declared_judge_is_an_error(run_of):
    found, verdict = outcome(run_of(GOOD, served="k-2"), run_of(GOOD))
    assert (found.status, verdict.status) == (Status.ERROR, Status.ERROR)
    assert "judge-served" in codes(found)
    listed = {"expected_models": ("k-2", "j-1")}
    found, _ = outcome(run_of(GOOD, served="k-2", **listed), run_of(GOOD, **listed))
    assert codes(found) == {"judge-changed"}


def test_the_embedding_model_beside_a_judge_is_served_under_its_own_name(run_of):
    def served_as(name):
        run = run_of(GOOD, served=name)
        judge = fake_judge_identity(version="j/1/v1", embeddings=fake_embeddings_identity(version="e/2/v1"))
        both = replace(spec(), judge=judge.identity({}, embeds=True))
        return replace(run, header=replace(run.header, metrics=(both,)))

    assert outcome(served_as("e-2"), served_as("e-2"))[0].status is Status.PASS
    found, _ = outcome(served_as("e-3"), served_as("e-3"))
    assert (found.status, codes(found)) == (Status.ERROR, {"judge-served"})
    assert "judged by j/1/v1 and e/2/v1, and e-3 was served" in found.summary


def test_an_endpoint_that_does_not_say_what_it_serves_is_taken_at_its_word(run_of):
    assert outcome(run_of(GOOD, served=None), run_of(GOOD))[0].status is Status.PASS


@pytest.mark.parametrize(
    ("before", "now", "drifted"),
    [
        ([1.0] * 12, [1.0] * 12, False),
        ([1.0] * 12, [1.0] * 7 + [0.0] * 5, False),  # five may be chance: p = 0.06
        ([1.0] * 12, [1.0] * 5 + [0.0] * 7, True),
        ([0.0] * 7 + [1.0] * 5, [1.0] * 12, True),  # better is another judge too
        ([1.0, 0.0] * 6, [0.0, 1.0] * 6, False),  # as often up as down
        ([0.8] * 12, [0.9] * 12, True),  # each agrees with its label, and all moved one way
        ([0.8] * 12, [0.8] * 6 + [0.9] * 6, False),  # p = 0.03 over two tests at 0.025
        ([0.8] * 12, [0.8] * 5 + [0.9] * 7, True),
    ],
)
def test_drift_is_what_labelled_answers_show(run_of, before, now, drifted):
    found, verdict = outcome(run_of(GOOD, anchors=anchors_of(now)), run_of(GOOD, anchors=anchors_of(before)))
    assert ("judge-drifted" in codes(found)) is drifted
    assert (verdict.status is Status.ERROR) is drifted


def test_only_the_same_labelled_answers_are_compared(run_of):
    ours = run_of(GOOD, anchors=anchors_of([0.0] * 12, digest="edited"))
    found, _verdict = outcome(ours, run_of(GOOD, anchors=anchors_of([1.0] * 12)))
    assert (found.status, codes(found)) == (Status.PASS, {"judge-anchors-missing"})
    assert "taken on trust" in found.reasons[0].text


def test_labelled_answers_that_are_gone_leave_it_open(run_of):
    found, verdict = outcome(run_of(GOOD), run_of(GOOD, anchors=anchors_of([1.0] * 12)))
    assert (found.status, verdict.status) == (Status.INCONCLUSIVE, Status.INCONCLUSIVE)


def test_a_run_that_is_still_going_on_has_not_got_them_yet(run_of):
    going_on = replace(run_of(GOOD), digest="")
    assert outcome(going_on, run_of(GOOD, anchors=anchors_of([1.0] * 12)))[0].status is Status.PASS


@pytest.mark.parametrize(("missing", "status"), [(1, Status.PASS), (2, Status.ERROR)])
def test_labelled_answers_that_got_no_score_are_missed(run_of, missing, status):
    ours = run_of(GOOD, anchors=anchors_of([None] * missing + [1.0] * (12 - missing)))
    found, _ = outcome(ours, run_of(GOOD, anchors=anchors_of([1.0] * 12)))
    assert (found.status, codes(found)) == (status, {"judge-anchors-missing"})


def test_another_judge_is_not_comparable_and_not_drifted(run_of):
    other = replace(run_of(GOOD, anchors=anchors_of([0.0] * 12)))
    header = replace(other.header, metrics=(replace(spec(), judge={**spec().judge, "version": "k/9/v1"}),))
    ours = replace(other, header=header)
    found, verdict = outcome(ours, run_of(GOOD, anchors=anchors_of([1.0] * 12)), check="comparable")
    assert (found.status, codes(found)) == (Status.ERROR, {"other-judge"})
    assert "version 'j/1/v1' -> 'k/9/v1'" in found.summary
    assert verdict.status is Status.ERROR


def same_outputs():
    return {id_: f"the answer to {id_} is always the same" for id_ in IDS}


def test_identical_outputs_that_all_move_one_way_mean_another_judge(run_of):
    before = [0.5] * 40
    now = [0.5] * 30 + [0.6] * 10
    ours, theirs = (run_of(scores, outputs=same_outputs()) for scores in (now, before))
    found, verdict = outcome(ours, theirs, check="comparable")
    assert (found.status, codes(found)) == (Status.ERROR, {"judge-changed"})
    assert verdict.status is Status.ERROR


def test_identical_outputs_that_scatter_both_ways_mean_nothing(run_of):
    now = [0.5] * 20 + [0.6] * 10 + [0.4] * 10
    ours, theirs = (run_of(scores, outputs=same_outputs()) for scores in (now, [0.5] * 40))
    assert outcome(ours, theirs, check="comparable")[0].status is Status.PASS


def test_answers_that_talk_to_the_judge_are_named(run_of):
    found, verdict = outcome(run_of(GOOD, steering=("s03", "s07")), run_of(GOOD))
    assert codes(found) == {"judge-steered"}
    assert [moved.sample_id for moved in found.moved] == ["s03", "s07"]
    assert "2 answers talk to the judge of 'faith' and were not judged: s03, s07" in found.reasons[0].text
    assert verdict.status is Status.PASS


def test_one_answer_that_talks_to_the_judge_is_one(run_of):
    found, _ = outcome(run_of(GOOD, steering=("s03",)), run_of(GOOD))
    assert "1 answer talks to the judge of 'faith' and was not judged: s03" in found.reasons[0].text


@pytest.mark.parametrize(
    ("n", "text", "status", "noted"),
    [
        (2, "All that is asked stands in the text.", Status.PASS, False),
        (4, "All that is asked stands in the text.", Status.PASS, True),
        (5, "All that is asked stands in the text.", Status.INCONCLUSIVE, True),
        (40, "yes", Status.PASS, False),
        (40, "I don't know the answer to this question.", Status.PASS, False),
    ],
)
def test_one_text_for_many_questions_is_named_and_beyond_a_tenth_leaves_it_open(run_of, n, text, status, noted):
    outputs = dict.fromkeys(IDS[:n], text)
    found, _ = outcome(run_of(GOOD, outputs=outputs), run_of([0.99] * 40))
    assert (found.status, "same-output" in codes(found)) == (status, noted)


def test_what_the_baseline_says_as_often_is_tolerated(run_of):
    outputs = dict.fromkeys(IDS[:20], "All that is asked stands in the text.")
    assert outcome(run_of(GOOD, outputs=outputs), run_of(GOOD, outputs=outputs))[0].status is Status.PASS


def test_the_same_question_may_have_the_same_answer(make_run, run_of):
    run = run_of(GOOD, outputs=dict.fromkeys(IDS, "All that is asked stands in the text."))
    one = {id_: replace(sample, input="The same question?") for id_, sample in run.samples.items()}
    alike = replace(run, samples=one)
    assert "same-output" not in codes(outcome(alike, alike)[0])


def test_a_candidate_that_gave_no_answer_is_left_to_other_rules(run_of):
    run = run_of(GOOD)
    silent = replace(run, results=tuple(replace(r, response=Response("")) for r in run.results))
    assert "same-output" not in codes(outcome(silent, run)[0])


def test_a_judge_that_another_tool_wrote_down_is_an_error(run_of):
    run = run_of(GOOD)
    strange = MetricSpec("faith", "faithfulness", deterministic=False, judge={"model": "x"})
    ours = replace(run, header=replace(run.header, metrics=(strange,)))
    found, _ = outcome(ours, ours)
    assert (found.status, codes(found)) == (Status.ERROR, {"judge-served"})


def test_costs_of_judges_stand_in_the_verdict_apart(run_of):
    run = run_of(GOOD, anchors=anchors_of([1.0] * 3))
    numbers = gate(run, POLICY, baseline=run).to_dict()["metrics"]["faith"]
    assert numbers["judge_calls"] == 2 * 40 + 2
    assert "judge_cost_usd" not in numbers
    scored = replace(run, results=tuple(_voted(result) for result in run.results))
    assert gate(scored, POLICY, baseline=scored).to_dict()["metrics"]["faith"]["judge_sd"] == pytest.approx(0.5**0.5)


def _voted(result):
    return replace(result, scores={"faith": Score(0.5, details={"votes": [0.0, 1.0]})})
