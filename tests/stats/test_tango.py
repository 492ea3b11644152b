"""Tango's test: published values, exact error rates, and the floors of section "formulas"."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import binom, multinomial, ttest_1samp

from aigate.stats.tango import tango_interval, tango_pass_test, tango_test

MARGIN = 0.05
USUAL = np.linspace(0.05, 0.50, 46)
ALL = np.linspace(0.05, 0.99, 95)


@st.composite
def tables(draw):
    n = draw(st.integers(1, 300))
    losses = draw(st.integers(0, n))
    return losses, draw(st.integers(0, n - losses)), n


def worst_false_pass(n: int, discordance: np.ndarray) -> float:
    """The largest chance in percent, over discordance rates, of p <= 5 % when the true drop is exactly the margin."""
    losses, gains = np.array([(l, g) for l in range(n + 1) for g in range(n - l + 1)]).T  # noqa: E741
    passes = np.array([tango_test(l, g, n, margin=MARGIN) <= 0.05 for l, g in zip(losses, gains, strict=True)])  # noqa: E741
    l, g = losses[passes], gains[passes]  # noqa: E741
    log_ways = gammaln(n + 1) - gammaln(l + 1) - gammaln(g + 1) - gammaln(n - l - g + 1)
    rates = []
    for share in discordance:
        p_loss, p_gain = (share + MARGIN) / 2, max((share - MARGIN) / 2, 1e-300)
        log_p = log_ways + l * math.log(p_loss) + g * math.log(p_gain) + (n - l - g) * math.log1p(-share)
        rates.append(np.exp(log_p).sum())
    return 100 * max(rates)


@pytest.mark.parametrize(("n", "percent"), [(30, 5.3), (50, 5.1), (100, 5.1), (200, 5.1)])
def test_exact_false_pass_at_the_margin_is_as_tabulated(n, percent):
    assert worst_false_pass(n, USUAL) == pytest.approx(percent, abs=0.05)


@pytest.mark.parametrize("n", [30, 50, 100, 150])
def test_exact_false_pass_stays_below_the_worst_case_the_module_tells(n):
    assert worst_false_pass(n, ALL) <= 5.8


def test_fifty_two_samples_without_a_difference_pass_at_five_points_and_fifty_one_do_not():
    assert tango_test(0, 0, 52, margin=0.05) <= 0.05
    assert tango_test(0, 0, 51, margin=0.05) > 0.05


def test_interval_is_the_published_one_for_airway_hyper_responsiveness():
    # Fagerland, Lydersen and Laake (2014), 21 children, 1 and 7 discordant: Tango's score interval.
    assert tango_interval(7, 1, 21, level=0.95) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("losses", "gains", "n"), [(3, 1, 40), (0, 4, 25), (6, 0, 80), (11, 9, 200)])
def test_score_uses_the_likelihood_maximised_at_the_margin(losses, gains, n):
    # q is the loss rate that maximises l log q + g log(q - margin) + (n - l - g) log(1 - 2q + margin).
    d0 = -MARGIN
    q = np.linspace(MARGIN, (1 + MARGIN) / 2, 2_000_001)[1:-1]
    likelihood = losses * np.log(q) + gains * np.log(q + d0) + (n - losses - gains) * np.log1p(-2 * q - d0)
    q = q[likelihood.argmax()]
    z = (gains - losses - n * d0) / math.sqrt(n * (2 * q + d0 * (1 - d0)))
    assert tango_test(losses, gains, n, margin=MARGIN) == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), abs=1e-5)


@given(table=tables(), margin=st.floats(0.001, 0.9), level=st.sampled_from([0.8, 0.9, 0.95]))
def test_interval_and_test_say_the_same(table, margin, level):
    low, _ = tango_interval(*table, level=level)
    p = tango_test(*table, margin=margin)
    if abs(low + margin) > 1e-9:
        assert (low >= -margin) == (p <= (1 - level) / 2)


@given(table=tables())
def test_interval_holds_the_estimate_and_mirrors_when_versions_swap(table):
    losses, gains, n = table
    low, high = tango_interval(losses, gains, n)
    assert -1.0 <= low <= (gains - losses) / n <= high <= 1.0
    assert tango_interval(gains, losses, n) == (-high, -low)


@given(table=tables(), margin=st.floats(0.001, 0.5))
def test_one_more_loss_never_helps_to_pass(table, margin):
    losses, gains, n = table
    if losses + gains < n:
        fewer = tango_test(losses, gains, n, margin=margin)
        assert tango_test(losses + 1, gains, n, margin=margin) >= fewer - 1e-12


def test_interval_without_discordant_samples_is_exact():
    z2 = 1.6448536269514722**2
    assert tango_interval(0, 0, 50) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)), abs=1e-15)


def test_ends_are_reached_when_every_sample_is_lost_or_won():
    assert tango_interval(9, 0, 9)[0] == -1.0
    assert tango_interval(0, 9, 9)[1] == 1.0
    assert -1.0 < tango_interval(0, 9, 9)[0] < 1.0


def test_nothing_to_judge_never_passes():
    assert tango_test(0, 0, 0, margin=0.05) == 1.0
    assert tango_interval(0, 0, 0) == (-1.0, 1.0)
    assert tango_test(0, 0, 1000, margin=0.0) == 1.0


def test_without_margin_it_is_mcnemar():
    assert tango_test(2, 12, 100, margin=0.0) == pytest.approx(0.5 * math.erfc(10 / math.sqrt(14) / math.sqrt(2)))


def test_one_break_in_fifty_is_not_certain_as_it_is_to_the_t_test():
    d = np.array([-1.0] + [0.0] * 49)
    assert ttest_1samp(d, -MARGIN, alternative="greater").pvalue < 0.10
    assert tango_test(1, 0, 50, margin=MARGIN) > 0.10


@pytest.mark.parametrize(("losses", "gains", "n"), [(-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_counts_that_cannot_be_are_refused(losses, gains, n):
    with pytest.raises(ValueError, match=r"^losses, gains: got"):
        tango_test(losses, gains, n, margin=0.05)
    with pytest.raises(ValueError, match=r"^losses, gains: got"):
        tango_interval(losses, gains, n)


@pytest.mark.parametrize("margin", [-0.01, 1.0, 5, float("nan")])
def test_a_margin_out_of_range_is_refused(margin):
    with pytest.raises(ValueError, match=r"^margin: got"):
        tango_test(1, 1, 50, margin=margin)


def false_pass_over_gains(test, n, margin=0.05):
    """The largest chance of a pass at exactly the margin, over how often answers are gained."""
    passing = [
        (losses, gains) for losses in range(n + 1) for gains in range(n + 1 - losses) if losses - gains <= margin * n
    ]
    passing = [(lost, won) for lost, won in passing if test(lost, won, n, margin=margin) <= 0.05]
    rates = []
    for gain in np.linspace(0.0, 0.4, 33):
        law = multinomial(n, [margin + gain, gain, 1 - margin - 2 * gain])
        rates.append(sum(law.pmf([lost, won, n - lost - won]) for lost, won in passing))
    return max(rates)


def test_pure_breakage_at_the_floor_is_where_tango_alone_passes_too_often():
    assert false_pass_over_gains(tango_test, 52) == pytest.approx(0.95**52, abs=1e-3)  # 6.9 %
    assert false_pass_over_gains(tango_pass_test, 52) < 0.055


@pytest.mark.parametrize("n", [20, 30, 59, 80])
def test_the_pass_test_keeps_its_rate_from_twenty_samples_on(n):
    assert false_pass_over_gains(tango_pass_test, n) <= 0.058


def test_the_pass_test_is_exact_without_gains_and_tango_with_them():
    assert tango_pass_test(0, 0, 58, margin=0.05) == pytest.approx(0.95**58)
    assert tango_pass_test(1, 0, 120, margin=0.05) >= binom.cdf(1, 120, 0.05) - 1e-12
    assert tango_pass_test(1, 3, 120, margin=0.05) == tango_test(1, 3, 120, margin=0.05)
    assert tango_pass_test(0, 0, 0, margin=0.05) == 1.0
