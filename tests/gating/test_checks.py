"""Each check by itself: its four statuses, and what it names."""

import numpy as np
import pytest

from aigate.core.response import FaultKind
from aigate.core.verdict import Status
from aigate.errors import ConfigError
from aigate.gating.checks.max_error_rate import MaxErrorRate
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.must_pass import MustPass
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.checks.same_shape import SameShape
from aigate.gating.decision import gate
from aigate.gating.policy import Policy


def ids(n):
    return [f"s{i:04}" for i in range(n)]


def judged(rule, candidate, baseline=None, **policy):
    verdict = gate(candidate, Policy((rule,), **policy), baseline=baseline)
    return next(c for c in verdict.checks if c.check == rule.name)


# --- min-score ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "status"), [(85, Status.PASS), (84, Status.FAIL), (100, Status.PASS), (0, Status.FAIL)]
)
def test_min_score_passes_at_the_threshold_exactly(make_run, good, status):
    run = make_run({id_: [float(i < good)] for i, id_ in enumerate(ids(100))})
    assert judged(MinScore("correct", at_least=0.85), run).status is status


def test_min_score_means_the_mean_with_missing_scores_at_their_worst(make_run):
    scores = {id_: [1.0] for id_ in ids(96)} | {f"lost{i}": [None] for i in range(4)}
    found = judged(MinScore("correct", at_least=0.97), make_run(scores))
    assert found.observed == pytest.approx(0.96)
    assert found.status is Status.INCONCLUSIVE
    assert found.reasons[0].code == "undecided-mean"


def test_min_score_averages_repeats_within_a_sample_first(make_run):
    run = make_run({"a": [1.0, 0.0, 0.0, 0.0], "b": [1.0, 1.0, 1.0, 1.0]})
    assert judged(MinScore("correct", at_least=0.5), run).observed == pytest.approx(0.625)


def test_min_score_gives_an_interval_around_the_mean_that_groups_widen(make_run):
    scores = {id_: [float(i % 10 < 8)] for i, id_ in enumerate(ids(200))}
    alone = judged(MinScore("correct", at_least=0.5), make_run(scores))
    blocks = {id_: f"g{i % 10}" for i, id_ in enumerate(ids(200))}
    grouped = judged(MinScore("correct", at_least=0.5), make_run(scores, groups=blocks))
    assert alone.interval.low < 0.8 < alone.interval.high
    assert grouped.interval.high - grouped.interval.low > 2 * (alone.interval.high - alone.interval.low)
    assert grouped.n_groups == 10


def test_min_score_lists_the_lowest_samples_first(make_run):
    run = make_run({"a": [0.9], "b": [0.1], "c": [0.5]})
    assert [m.sample_id for m in judged(MinScore("correct", at_least=0.8), run).moved] == ["b", "c"]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_min_score_refuses_a_threshold_outside_0_and_1(threshold):
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        MinScore("correct", at_least=threshold)


# --- must-pass ------------------------------------------------------------------------------------------------------


def test_must_pass_blocks_on_one_sample_in_one_repeat_and_names_it(make_run):
    scores = {id_: [1.0, 1.0] for id_ in ids(50)} | {"s0007": [1.0, 0.0]}
    found = judged(MustPass(tag="safety"), make_run(scores, tags={"s0007": ["safety"], "s0008": ["safety"]}))
    assert found.status is Status.FAIL
    assert "s0007" in found.reasons[0].text
    assert [m.sample_id for m in found.moved] == ["s0007"]


def test_must_pass_ignores_samples_without_the_tag(make_run):
    scores = {"a": [1.0], "b": [0.0]}
    assert judged(MustPass(tag="safety"), make_run(scores, tags={"a": ["safety"]})).status is Status.PASS


def test_must_pass_without_any_tagged_sample_is_an_error(make_run):
    found = judged(MustPass(tag="safety"), make_run({"a": [1.0], "b": [1.0]}))
    assert found.status is Status.ERROR
    assert found.reasons[0].code == "no-such-tag"


def test_must_pass_with_a_missing_score_is_inconclusive(make_run):
    scores = {id_: [1.0] for id_ in ids(40)} | {"a": [None]}
    found = judged(MustPass(tag="safety"), make_run(scores, tags={"a": ["safety"], "s0000": ["safety"]}))
    assert found.status is Status.INCONCLUSIVE


def test_must_pass_takes_a_named_metric_and_bar(make_run):
    run = make_run({"correct": {"a": [0.0], "b": [0.0]}, "other": {"a": [0.7], "b": [0.7]}}, tags={"a": ["safety"]})
    assert judged(MustPass(tag="safety", metric="other", at_least=0.7), run).status is Status.PASS
    assert judged(MustPass(tag="safety", metric="other", at_least=0.71), run).status is Status.FAIL


# --- max-error-rate -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("broken", "status"), [(1, Status.PASS), (2, Status.FAIL)])
def test_max_error_rate_counts_answers_that_never_came(make_run, broken, status):
    faults = dict.fromkeys(ids(broken), FaultKind.SERVER)
    run = make_run({id_: [1.0] for id_ in ids(100)}, faults=faults)
    found = judged(MaxErrorRate(at_most=0.01), run)
    assert found.status is status
    assert found.observed == pytest.approx(broken / 100)


def test_max_error_rate_counts_infrastructure_errors_too(make_run):
    run = make_run({id_: [1.0] for id_ in ids(100)}, faults=dict.fromkeys(ids(5), FaultKind.CONNECTION))
    assert judged(MaxErrorRate(at_most=0.01), run).status is Status.FAIL


# --- no-regression --------------------------------------------------------------------------------------------------


def test_no_regression_uses_tango_for_single_binary_scores_and_bb1_for_others(make_run):
    binary = make_run({id_: [1.0] for id_ in ids(60)})
    shares = make_run({id_: [0.75] for id_ in ids(60)})
    repeated = make_run({id_: [1.0, 1.0] for id_ in ids(60)})
    rule = NoRegression("correct")
    assert judged(rule, binary, binary).details["method"].startswith("Tango")
    assert judged(rule, shares, shares).details["method"].startswith("Bayesian bootstrap")
    assert judged(rule, repeated, repeated).details["method"].startswith("Bayesian bootstrap")


@pytest.mark.parametrize(("n", "status"), [(58, Status.INCONCLUSIVE), (59, Status.PASS)])
def test_no_regression_knows_the_floor_of_binary_scores(make_run, n, status):
    run = make_run({id_: [1.0] for id_ in ids(n)})
    assert judged(NoRegression("correct"), run, run).status is status


@pytest.mark.parametrize(("n", "status"), [(58, Status.INCONCLUSIVE), (60, Status.PASS)])
def test_no_regression_knows_the_floor_of_other_scores(make_run, n, status):
    run = make_run({id_: [0.5] for id_ in ids(n)})
    assert judged(NoRegression("correct"), run, run).status is status


def test_no_regression_blocks_only_when_half_the_margin_is_observed(make_run):
    baseline = {id_: [1.0] for id_ in ids(400)}
    candidate = {id_: [0.0 if i < 9 else 1.0] for i, id_ in enumerate(ids(400))}  # 2.25 points, p = 2^-9
    wide = judged(NoRegression("correct", margin=0.10), make_run(candidate), make_run(baseline))
    narrow = judged(NoRegression("correct", margin=0.02), make_run(candidate), make_run(baseline))
    assert wide.status is Status.PASS
    assert narrow.status is Status.FAIL


def test_no_regression_needs_five_net_losses_to_block_binary_scores(make_run):
    baseline = {id_: [1.0] for id_ in ids(30)}
    statuses = []
    for losses in (4, 5):
        candidate = {id_: [0.0 if i < losses else 1.0] for i, id_ in enumerate(ids(30))}
        statuses.append(judged(NoRegression("correct"), make_run(candidate), make_run(baseline)).status)
    assert statuses == [Status.INCONCLUSIVE, Status.FAIL]


def test_no_regression_treats_the_group_as_the_unit(make_run):
    groups = {id_: f"g{i // 50}" for i, id_ in enumerate(ids(200))}
    baseline = {id_: [1.0] for id_ in ids(200)}
    candidate = {id_: [0.0 if i < 50 else 1.0] for i, id_ in enumerate(ids(200))}  # one whole document broke
    grouped = judged(NoRegression("correct"), make_run(candidate, groups=groups), make_run(baseline, groups=groups))
    alone = judged(NoRegression("correct"), make_run(candidate), make_run(baseline))
    assert alone.status is Status.FAIL
    assert grouped.status is Status.INCONCLUSIVE
    assert grouped.n_groups == 4


def zero_one(losses, gains, n=200):
    """0/1 scores of a baseline and a candidate: so many samples lost, so many gained, every tenth of the rest wrong."""
    pairs = [(1.0, 0.0)] * losses + [(0.0, 1.0)] * gains
    pairs += [(float(i % 10 > 0),) * 2 for i in range(n - len(pairs))]
    return ({id_: [pair[arm]] for id_, pair in zip(ids(n), pairs, strict=True)} for arm in (0, 1))


def test_no_regression_tells_a_drop_that_is_found_four_times_in_five(make_run):
    baseline, unchanged = zero_one(8, 8)
    told = judged(NoRegression("correct"), make_run(unchanged), make_run(baseline)).smallest_detectable_drop
    random = np.random.default_rng(17)
    found = 0
    for _ in range(80):
        kept = random.random(200) >= told / 0.9
        candidate = {id_: [score * keep] for (id_, [score]), keep in zip(unchanged.items(), kept, strict=True)}
        found += judged(NoRegression("correct"), make_run(candidate), make_run(baseline)).status is Status.FAIL
    assert 0.68 <= found / 80 <= 0.92  # by the scatter of the unchanged pair alone: 0.64


def test_no_regression_does_not_count_the_scatter_of_an_observed_drop_twice(make_run):
    told = []
    for losses in (8, 28):
        baseline, candidate = zero_one(losses, 8)
        told.append(judged(NoRegression("correct"), make_run(candidate), make_run(baseline)).smallest_detectable_drop)
    assert told[1] == pytest.approx(told[0], abs=0.004)


def test_no_regression_tells_millers_drop_for_graded_scores(make_run):
    random = np.random.default_rng(3)
    baseline, candidate = random.uniform(0.2, 0.8, (2, 100))
    runs = [make_run({id_: [float(x)] for id_, x in zip(ids(100), arm, strict=True)}) for arm in (candidate, baseline)]
    found = judged(NoRegression("correct"), *runs)
    sd = (candidate - baseline).std(ddof=1)
    assert found.smallest_detectable_drop == pytest.approx(2.4865 * sd / 10, rel=1e-3)


def test_no_regression_never_passes_with_fewer_than_twenty_groups(make_run):
    for n_groups, status in ((19, Status.INCONCLUSIVE), (40, Status.PASS)):
        groups = {id_: f"g{i % n_groups}" for i, id_ in enumerate(ids(400))}
        run = make_run({id_: [1.0] for id_ in ids(400)}, groups=groups)
        found = judged(NoRegression("correct", margin=0.2), run, run)
        assert found.status is status
        assert ("too-few-groups" in {r.code for r in found.reasons}) is (status is Status.INCONCLUSIVE)


def test_no_regression_blocks_on_a_slice_that_the_policy_names(make_run):
    tags = {id_: ["refunds"] for id_ in ids(40)}
    baseline = {id_: [1.0] for id_ in ids(1000)}
    candidate = {id_: [0.0 if i < 20 else 1.0] for i, id_ in enumerate(ids(1000))}
    runs = make_run(candidate, tags=tags), make_run(baseline, tags=tags)
    whole = judged(NoRegression("correct"), *runs)
    sliced = judged(NoRegression("correct", slices=("refunds",)), *runs)
    assert whole.status is Status.PASS
    assert sliced.status is Status.FAIL
    assert any(r.code == "slice-drop" and "refunds" in r.text for r in sliced.reasons)


def test_no_regression_reports_every_slice_worst_first_without_gating(make_run):
    tags = {id_: ["bad" if i < 50 else "good"] for i, id_ in enumerate(ids(1000))}
    candidate = {id_: [0.0 if i < 20 else 1.0] for i, id_ in enumerate(ids(1000))}
    found = judged(
        NoRegression("correct"), make_run(candidate, tags=tags), make_run({id_: [1.0] for id_ in ids(1000)}, tags=tags)
    )
    rows = found.details["slices"]
    assert [row["tag"] for row in rows] == ["bad", "good"]
    assert rows[0]["q"] < 0.05 < rows[1]["q"]
    assert rows[0]["q"] == pytest.approx(2 * rows[0]["p"])  # two slices, and the other has p = 1
    assert found.status is Status.PASS


def test_no_regression_family_gets_stricter_with_every_metric(make_run):
    rng = np.random.default_rng(5)
    n = 60
    baseline = {f"m{k}": {id_: [float(rng.random() < 0.8)] for id_ in ids(n)} for k in range(6)}
    candidate = {m: {id_: [float(rng.random() < 0.8)] for id_ in ids(n)} for m in baseline}
    candidate["m0"] = {id_: [0.0 if i < 7 else v[0]] for i, (id_, v) in enumerate(baseline["m0"].items())}
    runs = make_run(candidate), make_run(baseline)
    one = gate(runs[0], Policy((NoRegression("m0"),)), baseline=runs[1]).checks[-1]
    all_ = next(
        c
        for c in gate(runs[0], Policy(tuple(NoRegression(m) for m in baseline)), baseline=runs[1]).checks
        if c.metric == "m0"
    )
    assert one.details["p_block"] < all_.details["p_block"]


def test_no_regression_turns_metrics_where_lower_is_better(make_run):
    from aigate.core.score import MetricSpec

    specs = [MetricSpec("toxicity", "recorded:toxicity", direction="lower", deterministic=False)]
    low, high = ({"toxicity": {id_: [v] for id_ in ids(100)}} for v in (0.1, 0.9))
    worse = judged(NoRegression("toxicity"), make_run(high, specs=specs), make_run(low, specs=specs))
    better = judged(NoRegression("toxicity"), make_run(low, specs=specs), make_run(high, specs=specs))
    assert (worse.status, better.status) == (Status.FAIL, Status.PASS)


def test_no_regression_takes_other_repeats_in_each_run(make_run):
    rng = np.random.default_rng(1)
    baseline = {id_: [float(rng.random() < 0.8) for _ in range(5)] for id_ in ids(150)}
    same = {id_: [float(rng.random() < 0.8)] for id_ in ids(150)}
    broken = {id_: [float(rng.random() < 0.4)] for id_ in ids(150)}
    assert judged(NoRegression("correct"), make_run(same), make_run(baseline)).status is not Status.FAIL
    found = judged(NoRegression("correct"), make_run(broken), make_run(baseline))
    assert found.status is Status.FAIL
    assert found.n_repeats == (1, 5)


def test_no_regression_rarely_blocks_a_candidate_equal_to_the_baseline(make_run):
    rng = np.random.default_rng(20261123)
    rates = rng.beta(4, 1, size=60)
    blocked = 0
    for _ in range(60):
        runs = [
            make_run({id_: [float(rng.random() < p)] for id_, p in zip(ids(60), rates, strict=True)}) for _ in range(2)
        ]
        blocked += judged(NoRegression("correct"), *runs).status is Status.FAIL
    assert blocked <= 8  # 5 % of 60 is 3; 8 is past three standard errors


# --- same-shape -----------------------------------------------------------------------------------------------------


def shaped(make_run, outputs, **kwargs):
    return make_run({id_: [1.0] for id_ in outputs}, outputs=outputs, **kwargs)


def test_same_shape_passes_when_nothing_changed(make_run):
    run = shaped(make_run, {id_: f'{{"answer": "text {id_}"}}' for id_ in ids(60)})
    assert judged(SameShape(), run, run).status is Status.PASS


@pytest.mark.parametrize(
    ("after", "named"),
    [
        ('```json\n{{"answer": "text {0}"}}\n```', "code fence"),
        ('{{"reply": "text {0}"}}', "JSON keys"),
        ('{{"answer": 1{1}}}', "JSON keys"),
        ("Sure! Here is what I found about {0}: it is the text you are looking for.", "JSON"),
        ("", "empty outputs"),
        ("I'm sorry, but I cannot assist with that request.", "refusals"),
        ('{{"answer": "text {0}"', "truncation"),
        ('{{"answer": "the very same text every time"}}', "duplicated outputs"),
        (
            '{{"answer": "text {0} and then a good deal more than anybody asked for, on and on and on and on"}}',
            "length class",
        ),
    ],
)
def test_same_shape_names_what_changed(make_run, after, named):
    before = {id_: f'{{"answer": "text {id_}"}}' for id_ in ids(60)}
    now = {id_: after.format(id_, i) for i, id_ in enumerate(ids(60))}
    found = judged(SameShape(), shaped(make_run, now), shaped(make_run, before))
    assert found.status is Status.FAIL
    assert named in found.reasons[0].text
    assert named in found.summary
    assert found.moved


def test_same_shape_can_be_told_to_ignore_a_feature(make_run):
    before = {id_: f"word {id_}" for id_ in ids(60)}
    now = {id_: f"word {id_} and then a good many words more than before" for id_ in ids(60)}
    runs = shaped(make_run, now), shaped(make_run, before)
    assert judged(SameShape(), *runs).status is Status.FAIL
    assert judged(SameShape(ignore=("length",)), *runs).status is Status.PASS


def test_same_shape_does_not_pass_a_suite_too_small_to_see_anything(make_run):
    run = shaped(make_run, {id_: f"text {id_}" for id_ in ids(12)})
    found = judged(SameShape(), run, run)
    assert found.status is Status.INCONCLUSIVE
    assert found.reasons[0].code == "suite-too-small"


def test_same_shape_tolerates_a_few_changed_outputs_in_a_large_suite(make_run):
    before = {id_: f"plain answer number {id_}" for id_ in ids(400)}
    now = dict(before) | {id_: f"- bullet answer {id_}" for id_ in ids(8)}
    assert judged(SameShape(), shaped(make_run, now), shaped(make_run, before)).status is Status.PASS


def test_same_shape_refuses_a_feature_it_does_not_know():
    with pytest.raises(ConfigError, match="no feature"):
        SameShape(ignore=("lenght",))


def test_same_shape_rarely_blocks_outputs_drawn_from_the_same_mix(make_run):
    rng = np.random.default_rng(7)
    forms = ["Yes.", "No, because it is not so.", "- a\n- b", '{"a": 1}', "```\ncode\n```", "Sure! Of course it is."]
    blocked = 0
    for _ in range(40):
        runs = [shaped(make_run, {id_: forms[rng.integers(6)] for id_ in ids(50)}) for _ in range(2)]
        blocked += judged(SameShape(), *runs).status is Status.FAIL
    assert blocked <= 3  # 1 % of 40 is 0.4


def test_same_shape_sees_values_that_are_each_rare(make_run):
    before = {id_: f'{{"answer": "text {id_}"}}' for id_ in ids(120)}
    now = {id_: f'{{"k{i}": "text {id_}"}}' for i, id_ in enumerate(ids(120))}
    found = judged(SameShape(), shaped(make_run, now), shaped(make_run, before))
    assert found.status is Status.FAIL
    assert "JSON keys and types 'other' 0% → 100%" in found.summary


def test_same_shape_takes_other_repeats_in_each_run(make_run):
    one = {id_: [1.0] for id_ in ids(60)}
    three = {id_: [1.0, 1.0, 1.0] for id_ in ids(60)}
    plain = {id_: f"plain answer number {id_}" for id_ in ids(60)}
    fenced = {id_: f"```\nplain answer number {id_}\n```" for id_ in ids(60)}
    assert judged(SameShape(), make_run(one, outputs=plain), make_run(three, outputs=plain)).status is Status.PASS
    found = judged(SameShape(), make_run(one, outputs=fenced), make_run(three, outputs=plain))
    assert found.status is Status.FAIL
    assert found.n_repeats == (1, 3)


def test_same_shape_leaves_out_samples_without_an_answer(make_run):
    outputs = {id_: f"plain answer number {id_}" for id_ in ids(60)}
    whole = shaped(make_run, outputs)
    partly = shaped(make_run, outputs, faults=dict.fromkeys(ids(3), FaultKind.CONNECTION))
    found = judged(SameShape(), partly, whole)
    assert found.status is Status.PASS
    assert found.n_samples == 57
