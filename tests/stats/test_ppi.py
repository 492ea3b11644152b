"""PPI++: the numbers of `ppi_py`, honest coverage with few labels, and what a biased judge can no longer hide."""

import math

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import ttest_1samp

from aigate.stats.ppi import ppi_mean

HUMAN = [0, 0, -1, 0, 0.5, -1, -1, 1, 0, 0, -0.5, 0]
JUDGE = [0, 0, -1, 0.5, 0, -1, 0, 1, 0, -0.5, 0, 0]
OTHERS = [0, 0, 0, 0, 1, -1, -1, 0, 0, 0, 0.5, 0, 0, -1, 0, 0, -0.5, 0, 0, -1, 0, 0, 0, -1, 1, 0, 0, 0, -1, 0]

# From ppi_py 0.2.3: its tuned lam, and estimate and 90 % interval where `lam` is that times n / (n - 1). It divides the
# covariance by n where the variance has n - 1.
PPI_PY_LAM = 0.6062978427279053
PPI_PY_ESTIMATE = -0.19973745808818877
PPI_PY_INTERVAL = (-0.4152037545371963, 0.015728838360818787)


def through_ppi_pys_eyes(found, human, judge, others):
    """Our standard error with n instead of n - 1 in the variances, as `ppi_py` has it."""
    rectified = np.subtract(human, found.lam * np.asarray(judge))
    return math.sqrt(rectified.var() / len(human) + found.lam**2 * np.var(others) / len(others))


def test_weight_and_estimate_are_those_of_ppi_py():
    found = ppi_mean(HUMAN, JUDGE, OTHERS)
    n = len(HUMAN)
    assert found.lam == pytest.approx(PPI_PY_LAM * n / (n - 1), rel=1e-12)
    assert found.estimate == pytest.approx(PPI_PY_ESTIMATE, abs=1e-12)
    assert (found.n_labelled, found.n_unlabelled) == (n, len(OTHERS))


def test_standard_error_is_that_of_ppi_py_but_for_n_minus_one():
    z, found = 1.6448536269514722, ppi_mean(HUMAN, JUDGE, OTHERS)
    low, high = PPI_PY_INTERVAL
    assert through_ppi_pys_eyes(found, HUMAN, JUDGE, OTHERS) == pytest.approx((high - low) / 2 / z, rel=1e-12)
    rectified = np.subtract(HUMAN, found.lam * np.asarray(JUDGE))
    variance = rectified.var(ddof=1) / len(HUMAN) + found.lam**2 * np.var(OTHERS, ddof=1) / len(OTHERS)
    assert found.se == pytest.approx(math.sqrt(variance), rel=1e-12)


@pytest.mark.integration  # ppi_py brings numba; the extra `oracles` installs it
@pytest.mark.parametrize("seed", range(5))
def test_weight_estimate_and_interval_agree_with_ppi_py_itself(seed):
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    random = np.random.default_rng(seed)
    n, rest = 40 + 20 * seed, 300
    truth = random.choice([-1.0, 0.0, 1.0], p=[0.15, 0.75, 0.1], size=n + rest)
    judged = np.where(random.random(n + rest) < 0.8, truth, random.choice([-1.0, 0.0, 1.0], size=n + rest))
    human, judge, others = truth[:n], judged[:n], judged[n:]
    found = ppi_mean(human, judge, others)
    assert 0.0 < found.lam < 1.0
    assert found.estimate == pytest.approx(ppi_mean_pointestimate(human, judge, others, lam=found.lam).item())
    low, high = (end.item() for end in ppi_mean_ci(human, judge, others, alpha=0.1, lam=found.lam))
    half = 1.6448536269514722 * through_ppi_pys_eyes(found, human, judge, others)
    assert (low, high) == pytest.approx((found.estimate - half, found.estimate + half))
    # Its own choice of lam: the covariance over n, ours over n - 1.
    tuned = ppi_mean_pointestimate(human, judge, others).item()
    assert tuned == pytest.approx(ppi_mean_pointestimate(human, judge, others, lam=found.lam * (n - 1) / n).item())


def test_interval_has_the_quantile_of_student_on_n_minus_one():
    found = ppi_mean(HUMAN, JUDGE, OTHERS, level=0.95)
    assert found.high - found.estimate == pytest.approx(stdtrit(len(HUMAN) - 1, 0.975) * found.se)
    assert found.estimate - found.low == pytest.approx(found.high - found.estimate)


@pytest.mark.parametrize(
    ("judge", "others"),
    [
        (JUDGE, []),
        (JUDGE, [0.5]),
        ([0.0] * 12, [0.0] * 30),
        ([-x for x in HUMAN], [0.0, 1.0, -1.0] * 10),
    ],
    ids=["no others", "one other", "judge without spread", "judge who contradicts"],
)
def test_a_judge_that_knows_nothing_leaves_the_t_interval_of_the_humans(judge, others):
    found = ppi_mean(HUMAN, judge, others, level=0.9)
    oracle = ttest_1samp(HUMAN, 0.0).confidence_interval(0.9)
    assert found.lam == 0.0
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))


def test_the_weight_never_exceeds_one():
    human = np.array([0.0, 1.0, -1.0, 0.0, 1.0, -1.0])
    assert ppi_mean(human, human / 10, np.tile(human / 10, 50)).lam == 1.0


def simulated(random, *, labelled, drop, cases=500):
    """Paired differences by humans and by a judge that grew lenient towards the candidate's style."""
    before = random.random(cases) < 0.88
    after = np.where(random.random(cases) < 0.6, before, random.random(cases) < 0.88 - drop / 0.4)
    judged = [
        np.where(truth, random.random(cases) < 0.9, random.random(cases) >= specificity).astype(float)
        for truth, specificity in ((before, 0.8), (after, 0.7))
    ]
    human, judge = after.astype(float) - before, judged[1] - judged[0]
    return human[:labelled], judge[:labelled], judge[labelled:]


@pytest.mark.parametrize(("labelled", "least"), [(50, 0.86), (200, 0.88)])
def test_the_interval_covers_the_true_drop_although_the_judge_is_biased(labelled, least):
    random, covered, narrower, runs = np.random.default_rng(3), 0, [], 800
    for _ in range(runs):
        human, judge, others = simulated(random, labelled=labelled, drop=0.05)
        found, alone = ppi_mean(human, judge, others, level=0.9), ppi_mean(human, judge, [], level=0.9)
        covered += found.low <= -0.05 <= found.high
        narrower.append((found.high - found.low) / (alone.high - alone.low))
    assert covered / runs >= least
    assert np.mean(narrower) < 0.96


def test_humans_uncover_a_drop_that_the_biased_judge_hides():
    random, seen, runs = np.random.default_rng(4), 0, 200
    hidden = []
    for _ in range(runs):
        human, judge, others = simulated(random, labelled=100, drop=0.10)
        seen += ppi_mean(human, judge, others, level=0.9).high < 0.0
        hidden.append(np.concatenate((judge, others)).mean())
    assert abs(np.mean(hidden)) < 0.05
    assert seen / runs >= 0.70  # 77 % in the reference


def test_equal_labels_give_no_width():
    found = ppi_mean([0.0] * 5, [0.0] * 5, [0.0, 1.0] * 10)
    assert (found.estimate, found.se, found.low, found.high) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("human", "judge", "others", "level", "message"),
    [
        ([0.0], [0.0], [0.0, 1.0], 0.9, r"^human: got 1 labels"),
        ([0.0, 1.0], [0.0], [0.0, 1.0], 0.9, r"^judge_labelled: got 1 scores, expected one for each of 2"),
        ([0.0, math.nan], [0.0, 1.0], [0.0, 1.0], 0.9, r"^human: got nan at \[1\]"),
        ([0.0, 1.0], [0.0, math.nan], [0.0, 1.0], 0.9, r"^judge_labelled: got nan"),
        ([0.0, 1.0], [0.0, 1.0], [math.nan], 0.9, r"^judge_unlabelled: got nan"),
        ([0.0, 1.0], [0.0, 1.0], [0.0, 1.0], 90, r"^level: got 90"),
    ],
)
def test_what_cannot_be_is_refused(human, judge, others, level, message):
    with pytest.raises(ValueError, match=message):
        ppi_mean(human, judge, others, level=level)


def test_units_of_one_sample_each_change_only_the_small_sample_factor():
    random = np.random.default_rng(8)
    human, others = random.normal(size=60), random.normal(size=200)
    judge = human + random.normal(size=60)
    plain = ppi_mean(human, judge, others)
    alone = ppi_mean(human, judge, others, units=(np.arange(60), np.arange(60, 260)))
    assert alone.estimate == plain.estimate
    assert alone.se == pytest.approx(plain.se, rel=0.02)


def test_copies_within_units_make_no_interval_narrower():
    random = np.random.default_rng(9)
    human, others = random.normal(size=60), random.normal(size=200)
    judge = human + random.normal(size=60)
    plain = ppi_mean(human, judge, others)
    copied = ppi_mean(
        *(np.repeat(x, 4) for x in (human, judge, others)),
        units=(np.repeat(np.arange(60), 4), np.repeat(np.arange(60, 260), 4)),
    )
    assert copied.se == pytest.approx(plain.se, rel=0.03)
    assert ppi_mean(*(np.repeat(x, 4) for x in (human, judge, others))).se < 0.6 * plain.se


def test_labels_of_a_single_unit_are_refused():
    with pytest.raises(ValueError, match="of a single unit"):
        ppi_mean([0.0, 1.0], [0.0, 1.0], [0.0, 1.0], units=(["a", "a"], ["b", "c"]))


def test_the_interval_of_grouped_labels_covers_what_it_says():
    random, covered, ignored, runs = np.random.default_rng(10), 0, 0, 400
    for _ in range(runs):
        mood = np.repeat(random.normal(0, 0.4, 100), 5)
        human = mood + random.normal(0, 0.3, 500)
        judge, part = human + random.normal(0, 0.4, 500), np.repeat(random.random(100) < 0.4, 5)
        codes = np.repeat(np.arange(100), 5)
        found = ppi_mean(human[part], judge[part], judge[~part], units=(codes[part], codes[~part]), level=0.9)
        alone = ppi_mean(human[part], judge[part], judge[~part], level=0.9)
        covered, ignored = covered + (found.low <= 0.0 <= found.high), ignored + (alone.low <= 0.0 <= alone.high)
    assert covered / runs >= 0.9 - 3 * math.sqrt(0.09 / runs)
    assert ignored / runs < 0.8
