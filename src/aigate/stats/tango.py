"""Is the drop in a paired share smaller than the margin? Tango's score test, for 0/1 scores with one trial each.

Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the paired-sample
design", Statistics in Medicine 17. A *loss* is a sample the baseline got right and the candidate wrong, a *gain* the
reverse. At the margin, by exact enumeration at n of 30, 50, 100 and 150, it passes at most 5.8 % of the time for alpha
5 %, the paired t test up to 21 %. At other n it may pass more often where nothing is gained: see `tango_pass_test`.
"""

from __future__ import annotations

import math

from aigate.stats import special
from aigate.stats.arrays import open_fraction

__all__ = ["tango_interval", "tango_pass_test", "tango_test"]

# Halvings of an interval of length at most 2: below the spacing of doubles near any end.
BISECTIONS = 60


def tango_test(losses: int, gains: int, n: int, *, margin: float) -> float:
    """One-sided p that the drop is smaller than the margin: p_pass = 1 - Phi(Z).

    At d0 = -margin: A = 2n, B = -g - l + (2n - g + l) d0, C = -l d0 (1 - d0), q = (sqrt(B² - 4AC) - B) / 2A,
    Z = (g - l - n d0) / sqrt(n (2q + d0 (1 - d0))).

    Args:
        losses: Samples that were right and are wrong now.
        gains: Samples that were wrong and are right now.
        n: All samples, discordant or not.
        margin: Tolerated drop, in [0, 1).

    Returns:
        In [0, 1]; small means the drop is smaller than the margin. Never small without evidence: no samples give 1,
        and so does a margin of 0 without discordant samples. Without discordant samples a margin of 0.05 is shown
        (p <= 0.05) from n = 52.

    Raises:
        ValueError: Counts that cannot be, or a margin outside [0, 1).

    >>> round(tango_test(0, 0, 52, margin=0.05), 3), round(tango_test(0, 0, 51, margin=0.05), 3)
    (0.049, 0.051)
    """
    _check_counts(losses, gains, n)
    if not 0.0 <= margin < 1.0:
        raise ValueError(f"margin: got {margin}, expected a number in [0, 1)")
    if n == 0 or (margin == 0.0 and losses + gains == 0):
        return 1.0
    return float(special.ndtr(-_score(losses, gains, n, -margin)))


def tango_pass_test(losses: int, gains: int, n: int, *, margin: float) -> float:
    """One-sided p that the drop is smaller than the margin, safe on pure breakage too.

    Tango's test alone passes a drop of exactly the margin too often when nothing is ever gained: 0.95^52 = 6.9 % at its
    floor of 52 samples. Without gains the losses are binomial, so the larger of Tango's p and the exact
    P(X <= losses), X ~ Binomial(n, margin), is taken. By enumeration over discordance rates, at n of 20, 30, 52, 59,
    80, 100 and 150, the false-pass rate at alpha 5 % and margin 5 % is then at most 5.7 % (5.2 % at 52). Elsewhere,
    with up to 70 % of the samples discordant: 5.9 % at n = 34, and 6.1 % at a margin of 2 points and n = 44. Where
    nearly every sample changes: 7.3 % at n = 25. At alpha 10 % small suites reach 14 % (n = 35, margin 2 points):
    keep alpha at 5 % there.

    Args:
        losses: Samples that were right and are wrong now.
        gains: Samples that were wrong and are right now.
        n: All samples, discordant or not.
        margin: Tolerated drop, in [0, 1).

    Returns:
        In [0, 1]; small means the drop is smaller than the margin; 1 without samples.

    Raises:
        ValueError: As `tango_test`.

    >>> tango_pass_test(0, 0, 59, margin=0.05) <= 0.05 < tango_pass_test(0, 0, 58, margin=0.05)
    True
    """
    p = tango_test(losses, gains, n, margin=margin)
    return p if gains else max(p, float(special.bdtr(losses, n, margin)) if n else 1.0)


def tango_interval(losses: int, gains: int, n: int, *, level: float = 0.90) -> tuple[float, float]:
    """The differences candidate - baseline that Tango's test does not reject at (1 - level) / 2 on either side.

    `low >= -margin` exactly when `tango_test(..., margin=margin) <= (1 - level) / 2`.

    Args:
        losses: Samples that were right and are wrong now.
        gains: Samples that were wrong and are right now.
        n: All samples, discordant or not.
        level: Two-sided confidence, between 0 and 1; 0.90 gives one-sided 95 % bounds.

    Returns:
        (low, high) in [-1, 1], to 1e-15. No samples know nothing: (-1, 1). Without discordant samples the ends are
        -z²/(n + z²) and z²/(n + z²).

    Raises:
        ValueError: Counts that cannot be, or a level outside (0, 1).

    >>> low, high = tango_interval(2, 1, 50)
    >>> round(low, 4), round(high, 4)
    (-0.0973, 0.0508)
    """
    _check_counts(losses, gains, n)
    z = float(special.ndtri((1.0 + open_fraction(level, name="level")) / 2.0))
    if n == 0:
        return -1.0, 1.0
    # Swapping losses and gains mirrors the difference, so one search serves both ends.
    return _lower_bound(losses, gains, n, z), -_lower_bound(gains, losses, n, z)


def _lower_bound(losses: int, gains: int, n: int, z: float) -> float:
    """The smallest difference that is not rejected; the score falls from +inf at -1 to 0 at the estimate."""
    if losses == gains == 0:
        return -z * z / (n + z * z)
    rejected, kept = -1.0, (gains - losses) / n
    for _ in range(BISECTIONS):
        middle = (rejected + kept) / 2.0
        if _score(losses, gains, n, middle) >= z:
            rejected = middle
        else:
            kept = middle
    return rejected


def _score(losses: int, gains: int, n: int, d0: float) -> float:
    """Tango's Z at the difference d0, in [-1, 1]."""
    a = 2.0 * n
    b = -gains - losses + (2.0 * n - gains + losses) * d0
    c = -losses * d0 * (1.0 - d0)
    # Both may fall below zero by rounding where they are zero.
    q = (math.sqrt(max(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)
    variance = max(n * (2.0 * q + d0 * (1.0 - d0)), 0.0)
    distance = gains - losses - n * d0
    if variance > 0.0:
        return distance / math.sqrt(variance)
    return math.copysign(math.inf, distance) if distance else 0.0


def _check_counts(losses: int, gains: int, n: int) -> None:
    if losses < 0 or gains < 0 or losses + gains > n:
        raise ValueError(f"losses, gains: got {losses} and {gains} of n = {n}, expected 0 <= losses + gains <= n")
