"""The array rule is the gate's, and its short cuts move nothing."""

import numpy as np
import pytest

from aigate.core.looks import Look, LookPlan
from aigate.gating.views import Rates, View, schedule, views_of
from aigate.stats.noninferiority import pass_test
from rates import rules
from rates.data import KINDS, trials
from rates.gated import make_run
from rates.rules import MARGIN, mean_drop, peeking_t, plain_mean, planned, verdict


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("n", [100, 203, 500])
def test_looks_and_levels_are_those_of_the_gate(n):
    looks = LookPlan(tuple(Look(-(-n * k // 5), 1) for k in range(1, 6)))
    run = make_run({"score": np.ones(n)}, prompt="v1", looks=looks)
    gates = schedule(run, views_of(run), np.arange(n), Rates(block=0.05, pass_=0.05, part_may_pass=True))
    (stage,) = gates.stages
    ours = planned(n, 5)
    assert ours.ends == tuple(look.units for look in looks.looks)
    assert ours.spent == pytest.approx(stage.spent)
    assert ours.pass_levels == pytest.approx(stage.pass_levels)


def test_escalation_splits_alpha_as_the_gate_does():
    looks = LookPlan((*(Look(40 * k, 1) for k in range(1, 6)), Look(200, 3)))
    run = make_run({"score": np.ones(200)}, prompt="v1", looks=looks)
    everything = tuple(
        View(k, 6, look.units, look.repeats, look.units == 200) for k, look in enumerate(looks.looks, start=1)
    )
    gates = schedule(run, everything, np.arange(200), Rates(block=0.05, pass_=0.05, part_may_pass=True))
    first, second = gates.stages
    assert planned(200, 5, alpha=0.02).spent == pytest.approx(first.spent, abs=1e-4)
    assert planned(200, 5, alpha=0.02).pass_levels == pytest.approx(first.pass_levels, abs=1e-4)
    assert planned(200, 1, alpha=0.03).spent == pytest.approx(second.spent, abs=1e-4)


def test_looks_at_fewer_units_than_a_pass_needs_are_left_out():
    plan = planned(50, 5)
    assert plan.ends == (20, 30, 40, 50)
    assert plan.spent[0] == pytest.approx(0.05 * 0.4**2)
    assert planned(12, 5).ends == (12,)


def test_one_look_has_all_of_alpha():
    plan = planned(200, 1)
    assert plan == rules.Plan((200,), (0.05,), pytest.approx((0.05,)))


@pytest.mark.parametrize("drop", [0.0, 0.08])
def test_skipping_the_pass_side_where_nothing_blocks_moves_no_block(drop):
    kind, plan = KINDS["binary-3"], planned(100, 5)
    blocks = 0
    for seed in range(150):
        baseline, candidate = kind.arms(generator(seed), 100, drop)
        d = candidate - baseline
        full = verdict(d, plan, generator(seed), binary=True)
        short = verdict(d, plan, generator(seed), binary=True, blocks_only=True)
        assert (short.decision == "block") == (full.decision == "block")
        assert short.decision is None or short == full
        blocks += full.decision == "block"
    assert blocks >= (1 if drop == 0.0 else 40)


@pytest.mark.parametrize("key", KINDS)
def test_no_test_passes_where_the_margin_is_lost(key, random):
    worst = 1.0
    for _ in range(60):
        baseline, candidate = KINDS[key].arms(random, 40, 0.06)
        d = candidate - baseline
        if d.mean() <= -MARGIN:
            found = pass_test(d, margin=MARGIN, seed=1, binary=KINDS[key].binary, draws=500)
            worst = min(worst, found.p)
    assert 0.3 < worst < 1.0


def test_a_total_loss_blocks_at_the_first_look_and_no_change_passes(random):
    plan = planned(500, 5)
    lost = verdict(-np.ones(500), plan, random, binary=True)
    assert (lost.decision, lost.units) == ("block", 100)
    same = verdict(np.zeros(500), plan, random, binary=True)
    assert same.decision == "pass"
    assert same.units < 500


def test_a_tolerable_drop_passes_however_certain(random):
    d = np.where(np.arange(1000) % 50 == 0, -1.0, 0.0)
    assert verdict(d, planned(1000, 1), random, binary=True).decision == "pass"


def test_an_early_look_needs_the_whole_margin_to_block(random):
    # 3 of the first 100 lost for certain, then 6 %: half the margin is not enough before the end.
    d = np.full(500, -0.03)
    found = verdict(d, planned(500, 5), random, binary=False)
    assert found.decision != "block" or found.units == 500


def test_escalation_asks_no_more_where_one_answer_decides(random):
    candidate, baseline = np.zeros((100, 3)), np.ones((100, 5))
    assert rules.escalated(candidate, baseline, random) == ("block", 1.0)


def test_escalation_asks_all_where_one_answer_does_not_decide(random):
    found = [rules.escalated(*trials(random, 60, 0.0, repeats=(3, 5), correlation=0.3), random) for _ in range(12)]
    assert {calls for _, calls in found} >= {3.0}
    assert all(calls == 3.0 for decision, calls in found if decision is None)


def test_naive_rules():
    baseline, candidate = np.ones(100), np.ones(100)
    candidate[:3] = 0.0
    assert mean_drop(baseline, candidate, tolerated=0.02)
    assert not mean_drop(baseline, candidate, tolerated=0.03)
    assert rules.every_case(baseline, candidate)
    assert not rules.every_case(baseline, baseline)
    assert plain_mean(baseline, candidate, threshold=0.98)
    assert not plain_mean(baseline, candidate, threshold=0.97)


def test_peeking_finds_more_than_it_should(random):
    found = [peeking_t(*KINDS["graded"].arms(random, 200, 0.0)) for _ in range(400)]
    assert found.count("block") / 400 > 0.08
    assert peeking_t(np.ones(50), np.ones(50)) is None


def test_random_numbers_are_drawn_afresh_in_every_run(random, monkeypatch):
    """Shared ones would add a variance to the rates that no standard error shows."""
    seen = []

    def spied(name):
        real = getattr(rules, name)

        def spy(*arguments, **options):
            seen.extend(options["seeds"] if "seeds" in options else [options["seed"]])
            return real(*arguments, **options)

        monkeypatch.setattr(rules, name, spy)

    for name in ("relabel_looks_arrays", "relabel_looks", "pass_test"):
        spied(name)
    for _ in range(3):
        rules.verdict(np.zeros(100), rules.planned(100, 5), random, binary=True)  # passes at look 4 of 5
        rules.repeats_verdict(np.ones((60, 1)), np.ones((60, 5)), random)
    assert len(seen) == 3 * (5 + 4 + 1 + 1)
    assert len(set(seen)) == len(seen)
