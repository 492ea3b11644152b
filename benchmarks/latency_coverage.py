"""How often the bounds of `max-latency` and `aigate bench` hold on latencies that were really measured.

    python benchmarks/latency_coverage.py            prints the tables
    python benchmarks/latency_coverage.py --write    and writes results/latency_coverage.md

Needs the data sets `../shared/data` beside the repository (llmperf, the Azure LLM trace of 2023, NAB's AWS series; see
the README there for sources and licences); nothing of them is copied. Everything is drawn with fixed seeds.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from aigate.running.measurement import SPELLS, rank_correlation
from aigate.stats.arrays import Floats
from aigate.stats.quantiles import quantile_ranks
from aigate.stats.ratios import ratio_interval

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
RUNS = 4_000
PAIRED_RUNS = 400
QUANTILES = (0.50, 0.95, 0.99)
N = 400
LEVEL = 0.95  # of each bound alone
TOLERATED = 1.25
FACTORS = (1.0, 1.25, 1.5)

ABOUT = f"""\
# How often the bounds of latency hold

Made by `python benchmarks/latency_coverage.py --write`. From each data set {N} values are drawn {RUNS:,} times; a bound
holds where the quantile of the whole data set lies on its side. Nominal: {LEVEL:.0%} for each bound. `normal`: the
upper bound of the quantile of a fitted normal distribution; `bootstrap`: the 95th percentile of 200 resamples, over
1,000 draws.
"""
SPELLED = f"""
## What comes in spells

The same from {N} values that followed one another: calls that share a slow moment are not independent, and no bound
that takes them for it holds. `told`: how often a benchmark says so (rank correlation above {SPELLS}).
"""
PAIRED = f"""
## The typical ratio, {N // 2} questions

Pairs of two answers of one endpoint, the second one slowed down by a factor; {PAIRED_RUNS} runs. `blocked`: shown to be
above {TOLERATED}; `passed`: shown to be at most that. `interval holds`: both bounds together, 90% nominal.
"""


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write results/latency_coverage.md too")
    options = parser.parse_args()
    if not DATA.is_dir():
        print("the data sets are not there: expected ../shared/data beside the repository", file=sys.stderr)
        return 2
    text = "\n".join(_document(*_data()))
    print(text)
    if options.write:
        (HERE / "results" / "latency_coverage.md").write_text(text + "\n")
    return 0


def _data() -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    """Values to draw from, and series in the order of time."""
    import pandas as pd

    llmperf = pd.read_parquet(DATA / "llmperf.parquet")
    llmperf = llmperf[llmperf.latency_s > 0]  # errors stand there as answers of 0 seconds
    azure = pd.read_parquet(DATA / "azure_llm_2023.parquet").sort_values("timestamp")
    nab = pd.read_parquet(DATA / "nab_aws.parquet").sort_values("timestamp")
    elb = nab[nab.series.str.contains("elb_request_count")].value
    pooled = {
        "llmperf, all endpoints: latency": llmperf.latency_s,
        "llmperf, all endpoints: time to first token": llmperf.ttft_s,
        "llmperf, in tenths of a second (ties)": np.ceil(llmperf.latency_s * 10.0) / 10.0,
        "Azure 2023: tokens of an answer": azure.output_tokens,
        "NAB: requests at a load balancer": elb,
    }
    series = {
        "Azure 2023, code: tokens of an answer": azure[azure.service == "code"].output_tokens,
        "NAB: requests at a load balancer": elb,
        "NAB: CPU of a database": nab[nab.series.str.contains("rds_cpu_utilization_cc0c53")].value,
    }
    return tuple({name: np.asarray(row, dtype=float) for name, row in rows.items()} for rows in (pooled, series))  # type: ignore[return-value]


def _document(pooled: Mapping[str, Floats], series: Mapping[str, Floats]) -> Iterator[str]:
    yield ABOUT
    yield _line("data", "quantile", "lower bound holds", "upper bound holds", "normal", "bootstrap")
    yield _line(*["---"] * 6)
    for name, values in pooled.items():
        for quantile in QUANTILES:
            random = np.random.default_rng([len(values), int(quantile * 100)])
            drawn = random.choice(values, (RUNS, N))
            low, high = coverage(drawn, quantile, _true(values, quantile))
            rivals = rival_coverage(drawn[:1_000], quantile, _true(values, quantile), random)
            yield _line(name, f"p{quantile * 100:g}", *(f"{share:.1%}" for share in (low, high, *rivals)))
    yield SPELLED
    yield _line("data", "quantile", "lower bound holds", "upper bound holds", "told")
    yield _line(*["---"] * 5)
    for name, values in series.items():
        random = np.random.default_rng(len(values))
        starts = random.integers(len(values) - N, size=500)
        windows = np.stack([values[start : start + N] for start in starts])
        told = np.mean([rank_correlation(window.tolist()) > SPELLS for window in windows])
        for quantile in QUANTILES:
            low, high = coverage(windows, quantile, _true(values, quantile))
            yield _line(name, f"p{quantile * 100:g}", *(f"{share:.1%}" for share in (low, high, told)))
    yield PAIRED
    yield _line("data", "slowed down by", "interval holds", "passed", "blocked")
    yield _line(*["---"] * 5)
    for name in ("llmperf, all endpoints: latency", "Azure 2023: tokens of an answer"):
        for factor in FACTORS:
            yield _line(name, f"{factor:g}", *(f"{share:.1%}" for share in paired(pooled[name], factor)))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _true(values: Floats, quantile: float) -> float:
    """The smallest value that a share `quantile` of all does not exceed."""
    return float(np.sort(values)[max(0, math.ceil(len(values) * quantile - 1e-9) - 1)])


def coverage(drawn: Floats, quantile: float, true: float) -> tuple[float, float]:
    """How often the lower and the upper bound of a quantile hold, over the rows of `drawn`."""
    ranks = quantile_ranks(drawn.shape[1], quantile, level=2.0 * LEVEL - 1.0)
    ordered = np.sort(drawn, axis=1)
    low = 1.0 if ranks.low is None else float(np.mean(ordered[:, ranks.low - 1] <= true))
    high = 1.0 if ranks.high is None else float(np.mean(ordered[:, ranks.high - 1] >= true))
    return low, high


def rival_coverage(drawn: Floats, quantile: float, true: float, random: np.random.Generator) -> tuple[float, float]:
    """The same for the upper bound of a fitted normal distribution, and of the percentile bootstrap."""
    from scipy.stats import nct, norm

    n = drawn.shape[1]
    tolerance = float(nct.ppf(LEVEL, n - 1, norm.ppf(quantile) * math.sqrt(n))) / math.sqrt(n)
    normal = drawn.mean(axis=1) + tolerance * drawn.std(axis=1, ddof=1)
    rank = max(1, math.ceil(n * quantile - 1e-9))
    again = (np.sort(random.choice(row, (200, n)), axis=1)[:, rank - 1] for row in drawn)
    bootstrap = np.array([np.quantile(row, LEVEL) for row in again])
    return float(np.mean(normal >= true)), float(np.mean(bootstrap >= true))


def paired(values: Floats, factor: float) -> tuple[float, float, float]:
    """Of runs whose answers take `factor` times as long: how often the interval holds, and what the check says."""
    random, found = np.random.default_rng([int(factor * 100), len(values)]), []
    positive = values[values > 0.0]
    for run in range(PAIRED_RUNS):
        before, now = random.choice(positive, (2, N // 2))
        found.append(ratio_interval(np.log(now * factor / before), seed=run, around=TOLERATED, draws=2_000))
    true = _true_ratio(positive, factor)
    holds = np.mean([interval.low <= true <= interval.high for interval in found])
    passed = np.mean([interval.high <= TOLERATED for interval in found])
    blocked = np.mean([interval.low > TOLERATED for interval in found])
    return float(holds), float(passed), float(blocked)


def _true_ratio(values: Floats, factor: float) -> float:
    """The geometric mean of many pairs' ratios, each cut as the check cuts it."""
    from aigate.stats.ratios import LARGEST_RATIO

    before, now = np.random.default_rng(0).choice(values, (2, 2_000_000))
    span = math.log(LARGEST_RATIO)
    return TOLERATED * math.exp(float(np.clip(np.log(now * factor / before / TOLERATED), -span, span).mean()))


if __name__ == "__main__":
    sys.exit(main())
