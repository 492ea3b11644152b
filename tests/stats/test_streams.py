"""Streams: the e-values are what the formulas say, never alarm too often, and alarm as soon as was promised."""

import json
import math
import sys

import numpy as np
import pytest
from scipy.stats import binom

from aigate.stats.streams import BernoulliLimit, BoundedMean, RelativeToStable, average_e, rate_log_e

RATIOS = (1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0)
BETS = (0.02, 0.04, 0.08, 0.15, 0.25, 0.40, 0.60, 0.80)

STREAMS = {
    "rate above": (BernoulliLimit(0.01), lambda s, part: s.after(sum(part), len(part))),
    "rate below": (BernoulliLimit(0.3, side="below"), lambda s, part: s.after(sum(part), len(part))),
    "canary": (RelativeToStable(0.3), lambda s, part: s.after(canary=sum(part), stable=len(part) - sum(part))),
    "mean below": (BoundedMean(0.85), lambda s, part: s.after(part)),
    "mean above": (BoundedMean(0.1, -1.0, 1.0, side="above"), lambda s, part: s.after(part)),
}


def times_of_events(random, rate, *, runs, most):
    """When the first, second, ... event of each run happens; shape (runs, most)."""
    return random.geometric(rate, (runs, most)).cumsum(axis=1)


def share_alarmed(rate, *, within, runs, most, alpha=0.01, limit=0.01, seed=1):
    """How many streams alarm. E only rises at an event, so it is enough to look there."""
    trials = times_of_events(np.random.default_rng(seed), rate, runs=runs, most=most)
    assert (trials[:, -1] > within).all()
    events = np.broadcast_to(np.arange(1, most + 1), trials.shape)
    alarms = (rate_log_e(events, trials, limit=limit) >= -math.log(alpha)) & (trials <= within)
    return alarms.any(axis=1).mean()


def values_until_alarm(stream, draw, *, alpha, runs, most):
    """How many values each of `runs` streams needs; infinity for more than `most`."""
    reached = [stream.log_e_path(draw(most)) >= -math.log(alpha) for _ in range(runs)]
    return np.array([int(hit.argmax()) + 1 if hit.any() else math.inf for hit in reached])


def beta_scores(mean, sd, seed=7):
    random, weight = np.random.default_rng(seed), mean * (1 - mean) / sd**2 - 1
    return lambda count: random.beta(mean * weight, (1 - mean) * weight, count)


# What the e-values are


@pytest.mark.parametrize(("events", "trials"), [(0, 1), (1, 1), (0, 40), (3, 40), (12, 40)])
@pytest.mark.parametrize(("limit", "side"), [(0.01, "above"), (0.2, "above"), (0.6, "above"), (0.2, "below")])
def test_rate_is_the_mean_likelihood_ratio_of_the_formula(events, trials, limit, side):
    if side == "above":
        alternatives = [min(limit * ratio, 1 - 0.1 * (1 - limit)) for ratio in RATIOS]
    else:
        alternatives = [limit / ratio for ratio in RATIOS]
    ratios = [(p / limit) ** events * ((1 - p) / (1 - limit)) ** (trials - events) for p in alternatives]
    stream = BernoulliLimit(limit, side=side).after(events, trials)
    assert stream.e_value == pytest.approx(sum(ratios) / 8)
    assert stream.log_e_value == pytest.approx(math.log(sum(ratios) / 8))


def test_canary_is_the_mean_likelihood_ratio_of_which_arm_an_error_hit():
    w, r = 0.05, 1.5
    q, *alternatives = (w * ratio / (w * ratio + 1 - w) for ratio in (r, *(r * ratio for ratio in RATIOS)))
    expected = sum((p / q) ** 4 * ((1 - p) / (1 - q)) ** 9 for p in alternatives) / 8
    assert RelativeToStable(w, ratio=r).after(canary=4, stable=9).e_value == pytest.approx(expected)


@pytest.mark.parametrize("side", ["above", "below"])
def test_bounded_mean_is_the_mean_product_of_bets(side):
    values, limit, low, high = [0.3, -0.8, 0.0, 1.0, -1.0, 0.25], 0.1, -1.0, 1.0
    gains = [limit - x if side == "below" else x - limit for x in values]
    most = high - limit if side == "below" else limit - low
    wealth = [math.prod(1 + g / most * gain for gain in gains) for g in BETS]
    stream = BoundedMean(limit, low, high, side=side).after(values)
    assert stream.e_value == pytest.approx(sum(wealth) / 8)
    assert stream.log_e_path([]).shape == (0,)
    assert BoundedMean(limit, low, high, side=side).log_e_path(values)[-1] == pytest.approx(stream.log_e_value)


# The hypothesis: expectation 1 at the limit, at most 1 beyond it


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.4, 0.97])
@pytest.mark.parametrize("side", ["above", "below"])
def test_expected_e_value_of_a_rate_is_one_at_the_limit_and_less_on_the_good_side(limit, side):
    trials = 30
    events = np.arange(trials + 1)
    e = np.exp(rate_log_e(events, np.full(trials + 1, trials), limit=limit, side=side))
    good = limit * 0.8 if side == "above" else 1 - (1 - limit) * 0.8
    assert binom.pmf(events, trials, limit) @ e == pytest.approx(1.0)
    assert binom.pmf(events, trials, good) @ e < 1.0


def test_expected_e_value_of_the_canary_is_one_at_the_tolerated_ratio():
    share, ratio, errors = 0.2, 2.0, 25
    chance = share * ratio / (share * ratio + 1 - share)
    e = [RelativeToStable(share, ratio=ratio).after(canary=k, stable=errors - k).e_value for k in range(errors + 1)]
    assert binom.pmf(np.arange(errors + 1), errors, chance) @ np.array(e) == pytest.approx(1.0)


@pytest.mark.parametrize("side", ["above", "below"])
def test_expected_e_value_of_a_mean_is_one_at_the_limit(side):
    # Values 0.2 and 1.0 in one to three: the mean is 0.8.
    paths = [[(0.2, 1.0)[bit >> i & 1] for i in range(8)] for bit in range(2**8)]
    chances = [math.prod(0.25 if x == 0.2 else 0.75 for x in path) for path in paths]
    e = [BoundedMean(0.8, side=side).after(path).e_value for path in paths]
    assert math.fsum(c * x for c, x in zip(chances, e, strict=True)) == pytest.approx(1.0)


# How often, and how soon


def test_a_canary_at_the_limit_alarms_in_at_most_one_percent_of_ten_thousand_streams():
    assert 0.002 <= share_alarmed(0.01, within=5_000, runs=10_000, most=100) <= 0.01


def test_a_canary_below_the_limit_hardly_ever_alarms():
    assert share_alarmed(0.003, within=5_000, runs=10_000, most=60) <= 0.001


@pytest.mark.parametrize(("rate", "least"), [(0.03, 0.99), (0.05, 1.0), (0.10, 1.0)])
def test_a_bad_canary_alarms_within_1800_requests(rate, least):
    assert share_alarmed(rate, within=1_800, runs=4_000, most=400) >= least


def test_few_errors_certify_a_rate_below_the_limit_in_the_tabulated_time():
    random, needed = np.random.default_rng(5), []
    for _ in range(200):
        events = (random.random(6_000) < 0.003).cumsum()
        reached = rate_log_e(events, np.arange(1, 6_001), limit=0.01, side="below") >= -math.log(0.05)
        needed.append(int(reached.argmax()) + 1 if reached.any() else math.inf)
    assert 600 <= np.median(needed) <= 1_000  # 878 in the reference


def test_certifying_a_rate_that_is_at_the_limit_succeeds_at_most_as_often_as_alpha():
    random, certified = np.random.default_rng(6), 0
    for _ in range(1_000):
        events = (random.random(3_000) < 0.01).cumsum()
        certified += (rate_log_e(events, np.arange(1, 3_001), limit=0.01, side="below") >= -math.log(0.05)).any()
    assert certified / 1_000 <= 0.05


@pytest.mark.parametrize(("mean", "low", "high"), [(0.80, 150, 280), (0.75, 30, 60), (0.70, 12, 26), (0.50, 4, 9)])
def test_faithfulness_below_its_limit_alarms_after_the_tabulated_number_of_judged_answers(mean, low, high):
    needed = values_until_alarm(BoundedMean(0.85), beta_scores(mean, 0.25), alpha=0.01, runs=200, most=1_500)
    assert low <= np.median(needed) <= high  # 205 / 42 / 19 / 6 in the reference


def test_faithfulness_at_its_limit_alarms_in_at_most_one_percent():
    needed = values_until_alarm(BoundedMean(0.85), beta_scores(0.85, 0.25), alpha=0.01, runs=2_000, most=1_000)
    assert np.isfinite(needed).mean() <= 0.01


def test_faithfulness_above_its_limit_is_certified():
    needed = values_until_alarm(
        BoundedMean(0.85, side="above"), beta_scores(0.95, 0.17), alpha=0.05, runs=200, most=600
    )
    assert np.median(needed) <= 75  # 62 in the reference


def test_a_shadow_replay_finds_a_drop_of_ten_points():
    random = np.random.default_rng(8)
    draw = lambda count: np.clip(random.normal(-0.10, 0.25, count), -1, 1)  # noqa: E731
    needed = values_until_alarm(BoundedMean(0.0, -1.0, 1.0), draw, alpha=0.01, runs=200, most=1_000)
    assert 80 <= np.median(needed) <= 120  # 103 in the reference


def test_a_shared_outage_alarms_the_absolute_limit_and_not_the_relative_one():
    random, share, runs, relative, absolute = np.random.default_rng(9), 0.05, 400, 0, 0
    for _ in range(runs):
        arms, rate = RelativeToStable(share), BernoulliLimit(0.01)
        for chance in (0.01,) * 5 + (0.10,) * 5 + (0.01,) * 5:  # minutes of 1,200 requests
            canary, stable = random.binomial(60, chance), random.binomial(1_140, chance)
            arms, rate = arms.after(canary=canary, stable=stable), rate.after(canary, 60)
        relative, absolute = relative + arms.alarm(0.01), absolute + rate.alarm(0.01)
    assert relative / runs <= 0.01
    assert absolute / runs >= 0.99


def test_a_canary_three_times_as_bad_as_stable_is_found():
    random, share, requests = np.random.default_rng(10), 0.05, []
    for _ in range(200):
        arms, minutes = RelativeToStable(share), 0
        while not arms.alarm(0.01) and minutes < 200:
            arms = arms.after(canary=random.binomial(20, 0.03), stable=random.binomial(380, 0.01))
            minutes += 1
        requests.append(20 * minutes)
    assert 250 <= np.median(requests) <= 550  # 371 in the reference


# State


@pytest.mark.parametrize("name", STREAMS)
def test_parts_give_what_the_whole_gives(name):
    stream, feed = STREAMS[name]
    values = (np.random.default_rng(11).random(60) < 0.4).astype(int).tolist()
    whole, parts = feed(stream, values), stream
    for start in range(0, 60, 7):
        parts = feed(parts, values[start : start + 7])
    assert parts.log_e_value == pytest.approx(whole.log_e_value, abs=1e-12)
    assert abs(whole.log_e_value - feed(stream, values[-4:]).log_e_value) > 0.1  # wealth was not started again


@pytest.mark.parametrize("name", STREAMS)
def test_a_state_survives_json(name):
    stream, feed = STREAMS[name]
    state = feed(stream, [1, 0, 0, 1, 1, 0])
    again = type(stream).from_dict(json.loads(json.dumps(state.to_dict())))
    assert again == state
    assert feed(again, [1, 0]) == feed(state, [1, 0])


@pytest.mark.parametrize("name", STREAMS)
def test_before_any_data_there_is_no_evidence(name):
    stream, feed = STREAMS[name]
    assert (stream.e_value, stream.log_e_value, stream.peak) == (1.0, 0.0, 0.0)
    assert feed(stream, []) == stream
    assert not stream.alarm(0.99)


def test_an_alarm_stays_when_the_evidence_fades():
    rate, mean = BernoulliLimit(0.01).after(6, 60), BoundedMean(0.85).after([0.1] * 8)
    canary = RelativeToStable(0.05).after(canary=6, stable=14)
    # The mean fades in two updates: the second one begins below the alarm.
    faded = (rate.after(0, 3_000), mean.after([1.0] * 200).after([1.0]), canary.after(canary=0, stable=300))
    for stream, later in zip((rate, mean, canary), faded, strict=True):
        assert stream.alarm(0.01)
        assert later.e_value < 1
        assert later.alarm(0.01)
    assert BoundedMean(0.85).after([0.1] * 8 + [1.0] * 200).alarm(0.01)  # the peak lies within one update


def test_an_alarm_is_reached_at_one_over_alpha():
    stream = BernoulliLimit(0.01).after(3, 60)
    assert stream.alarm(1.0 / stream.e_value + 1e-9)
    assert not stream.alarm(1.0 / stream.e_value - 1e-9)


# Numerical traps


def test_wealth_beyond_the_largest_float_is_kept():
    stream = BernoulliLimit(0.01).after(5_000, 10_000)
    assert stream.log_e_value > 1_000
    assert stream.e_value == pytest.approx(sys.float_info.max)
    mean = BoundedMean(0.85).after(np.zeros(3_000))
    assert mean.log_e_value > 1_000
    assert mean.after(np.zeros(10)).log_e_value > mean.log_e_value


def test_wealth_below_the_smallest_float_is_kept():
    stream = BernoulliLimit(0.01).after(0, 1_000_000)
    assert -3_000 < stream.log_e_value < -2_000
    assert stream.after(100_000, 100_000).alarm(0.01)
    mean = BoundedMean(0.5).after(np.ones(80_000))
    assert mean.log_e_value < -1_000
    assert mean.after(np.zeros(80_000)).log_e_value > mean.log_e_value


@pytest.mark.parametrize("limit", [0.04, 0.2, 0.5, 0.9, 0.999])
def test_alternatives_stay_below_one_so_that_no_single_trial_ends_the_game(limit):
    stream = BernoulliLimit(limit)
    lost = stream.after(0, 1)
    assert math.log(0.1) - 1e-12 <= lost.log_e_value < 0.0
    assert lost.after(1, 1).log_e_value > lost.log_e_value


@pytest.mark.parametrize(("side", "worst"), [("below", 1.0), ("above", 0.0)])
def test_the_worst_value_costs_no_bet_all_of_its_wealth(side, worst):
    stream = BoundedMean(0.85, side=side).after([worst])
    assert stream.log_wealth == pytest.approx([math.log1p(-g) for g in BETS])
    assert min(stream.log_wealth) >= math.log(0.1)
    assert all(math.isfinite(w) for w in BoundedMean(0.85, side=side).after([worst] * 1_000).log_wealth)


def test_gains_too_small_to_change_one_are_not_lost():
    gain = 2.0**-50
    stream = BoundedMean(0.5).after(np.full(1_000, 0.5 - gain))
    assert stream.log_e_value == pytest.approx(1_000 * gain / 0.5 * sum(BETS) / 8, rel=1e-3, abs=0)
    # log(1 - p) for p = 1e-12 keeps four digits.
    expected = np.log(np.mean(np.exp([-(ratio - 1.0) for ratio in RATIOS])))
    assert BernoulliLimit(1e-12).after(0, 10**12).log_e_value == pytest.approx(expected, rel=1e-9)


# Refusals


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1.01, -0.01])
def test_a_value_that_is_no_score_is_refused(bad):
    with pytest.raises(ValueError, match=r"^values: got"):
        BoundedMean(0.85).after([0.9, bad])


@pytest.mark.parametrize(("events", "trials"), [(-1, 2), (3, 2), (math.nan, 2), (1, math.inf)])
def test_counts_that_cannot_be_are_refused(events, trials):
    with pytest.raises(ValueError, match=r"^events, trials: "):
        BernoulliLimit(0.01).after(events, trials)
    with pytest.raises(ValueError, match=r"^events, trials: "):
        rate_log_e([events], [trials], limit=0.01)


def test_negative_errors_of_either_arm_are_refused():
    for counts in ({"canary": -1, "stable": 3}, {"canary": 1, "stable": -1}):
        with pytest.raises(ValueError, match=r"^events, trials: "):
            RelativeToStable(0.05).after(**counts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BernoulliLimit(1.0), r"^limit: got 1.0"),
        (lambda: BernoulliLimit(0.01, side="over"), r"^side: got 'over'"),
        (lambda: BernoulliLimit(0.01, events=3, trials=2), r"^events, trials: got 3 of 2"),
        (lambda: BernoulliLimit(0.01, peak=math.nan), r"^peak: got nan"),
        (lambda: RelativeToStable(5.0), r"^share: got 5.0"),
        (lambda: RelativeToStable(0.05, ratio=0.0), r"^ratio: got 0.0"),
        (lambda: BoundedMean(1.0), r"^low, limit, high: got"),
        (lambda: BoundedMean(0.85, side="over"), r"^side: got 'over'"),
        (lambda: BoundedMean(0.85, log_wealth=(0.0,)), r"^log_wealth: got"),
        (lambda: BoundedMean(0.85, log_wealth=(math.nan,) * 8), r"^log_wealth: got"),
        (lambda: BoundedMean(0.85, peak=-1.0), r"^peak: got -1.0"),
        (lambda: BernoulliLimit(0.01).alarm(1.0), r"^alpha: got 1.0"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Several e-values


def test_several_e_values_are_averaged():
    assert average_e([1.0, 0.5, 300.0]) == pytest.approx(100.5)
    assert average_e([0.0, 0.0]) == 0.0
    assert average_e([sys.float_info.max] * 3) == pytest.approx(sys.float_info.max)


@pytest.mark.parametrize("values", [[], [1.0, -0.1], [1.0, math.nan], [math.inf]])
def test_no_average_of_what_are_no_e_values(values):
    with pytest.raises(ValueError, match=r"^e_values: got"):
        average_e(values)
