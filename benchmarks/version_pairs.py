"""Every pair of recorded versions, by the gate and by naive rules: what each would have said.

    python benchmarks/version_pairs.py            prints the tables
    python benchmarks/version_pairs.py --write    and writes results/version_pairs.md

Needs the recorded suites `../shared/suites` beside the repository (real answers of GSM8K, RAGTruth, LLMDrift and
tau-bench; see the README there for sources and licences). The tau-bench suite holds one version that answered four
times: there the repeats take the place of versions, and nothing has changed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aigate import evaluate, load_suite
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.comparison import Comparison
from aigate.gating.decision import gate
from aigate.gating.early_stop import plan_looks
from aigate.gating.policy import Policy

HERE = Path(__file__).resolve().parent
SUITES = HERE.parents[1] / "shared" / "suites"
NAMES = {"pass": "pass", "fail": "**fail**", "inconclusive": "inconclusive", "error": "error"}
HEAD = (
    "baseline",
    "candidate",
    "difference",
    "aigate",
    "look",
    "used",
    "> 2 points",
    "> 5 points",
    "every case",
    "t test",
)


ABOUT = """\
# Every pair of recorded versions

Made by `python benchmarks/version_pairs.py --write`. Real recorded answers; alpha 0.05, margin 5 points, one metric.
`aigate` is the check no-regression with looks as planned by default: a look uses a part of the suite; a pass of another
version always rests on the whole of it. Beside it, on all answers: block where the mean fell by over 2 or 5 points;
block where any sample that was right became wrong (scores: fell); block where a one-sided paired t test is significant.
The naive rules know two answers and call everything else a pass. In tau-bench nothing has changed: four repeats of one
model; a rule that blocks there blocks on noise.
"""


@dataclass(frozen=True)
class Pair:
    """Two runs of one suite."""

    baseline: str
    candidate: str
    outcome: CheckOutcome
    naive: tuple[bool, ...]

    def row(self) -> tuple[str, ...]:
        """The pair as cells of a table."""
        found = self.outcome
        look = f"{found.look} of {found.looks}" if found.look else "–"
        naive = ("**block**" if blocks else "pass" for blocks in self.naive)
        drop = f"{(found.observed or 0.0) * 100:+.1f}"
        return (self.baseline, self.candidate, drop, NAMES[found.status], look, f"{found.share_used:.0%}", *naive)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write results/version_pairs.md too")
    options = parser.parse_args()
    if not SUITES.is_dir():
        print("the recorded suites are not there: expected ../shared/suites beside the repository", file=sys.stderr)
        return 2
    text = "\n".join(_document())
    print(text)
    if options.write:
        (HERE / "results" / "version_pairs.md").write_text(text + "\n")
    return 0


def _document() -> Iterator[str]:
    yield ABOUT
    for name, metric in (
        ("gsm8k", "correct"),
        ("ragtruth", "human_faithful"),
        ("llmdrift-prime", "correct"),
        ("llmdrift-leetcode", "correct"),
        ("taubench-airline", "reward"),
    ):
        yield f"## {name}\n"
        yield _line(HEAD)
        yield _line("---" for _ in HEAD)
        yield from (_line(pair.row()) for pair in _pairs(name, metric))
        yield ""


def _line(cells: object) -> str:
    return f"| {' | '.join(cells)} |"  # type: ignore[arg-type]


def _pairs(name: str, metric: str) -> Iterator[Pair]:
    """Every ordered pair of versions; of one version, every ordered pair of repeats."""
    suite = load_suite(SUITES / name)
    policy = Policy((NoRegression(metric),))
    recordings = sorted((SUITES / name / "recorded").glob("*.jsonl.gz"))
    runs = {path.name.removesuffix(".jsonl.gz"): {"recorded": path} for path in recordings}
    if len(runs) == 1:
        [path] = recordings
        runs = {
            f"repeat {k}": {"recorded": path, "provider_options": {"repeat-offset": k}}
            for k in range(suite.config.repeats)
        }
    for (one, first), (two, second) in itertools.permutations(runs.items(), 2):
        baseline = _run(suite.path, one, first)
        looks = plan_looks(suite.samples, policy, baseline, repeats=1, max_repeats=1, early_stop=True)
        candidate = _run(suite.path, two, second, looks=looks)
        verdict = gate(candidate, policy, baseline=baseline)
        [outcome] = (check for check in verdict.checks if check.check == "no-regression")
        yield Pair(one, two, outcome, _naive(candidate, baseline, metric))


def _run(suite: Path, name: str, given: dict, *, looks: object = None) -> Run:
    version = f"{name.replace(' ', '-')}/recorded/v1" if not name.startswith("repeat") else "gpt-4o/2024/v1"
    found = evaluate(suite, version=version, repeats=1, environ={}, looks=looks, **given)
    # A recording that names the model it was served by is judged on its scores here, not on its name.
    return replace(found, header=replace(found.header, expected_models=(name,)))


def _naive(candidate: Run, baseline: Run, metric: str) -> tuple[bool, ...]:
    """Whether each naive rule blocks."""
    from scipy.stats import ttest_1samp

    now, before, used = Comparison(candidate, baseline).paired(metric).arms("observed")
    d = (now.mean(axis=1) - before.mean(axis=1))[used]
    drop = -float(d.mean())
    t = bool(np.ptp(d) > 0 and ttest_1samp(d, 0.0, alternative="less").pvalue <= 0.05)
    return drop > 0.02, drop > 0.05, bool((d < 0).any()), t


if __name__ == "__main__":
    sys.exit(main())
