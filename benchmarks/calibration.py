"""What `aigate judge calibrate` says of real scorers: grounding and novelty on RAGTruth, 15 metrics on FRANK; PPI++.

    python benchmarks/calibration.py [FOLDER]            prints the tables
    python benchmarks/calibration.py [FOLDER] --write    and writes results/calibration.md

FOLDER (default: ../shared/data beside the repository) holds `ragtruth.jsonl.gz` (see benchmarks/grounding.py) and
`frank_metrics.parquet`: FRANK (Pagnoni et al., 2021; MIT), `human_annotations.json` joined with `baseline_factuality_
metrics_outputs.json` of artidoro/frank: columns id, dataset, human_factuality, and one per metric. They are no part of
the repository.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import grounding as ragtruth
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.errors import AigateError
from aigate.scorers.calibration import Calibration, Cut, Labelled, calibrate
from aigate.scorers.grounding import unsupported
from aigate.stats.ppi import ppi_mean

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
MADE_AT = "2026-11-27T00:00:00Z"
RUNS = 2000

ABOUT = """\
# Scorers against people

Made by `python benchmarks/calibration.py --write`: `aigate.scorers.calibration.calibrate` on real labels, cut where J
is largest, figures at the cut by cuts chosen on other documents, 95 % intervals over documents. F1 is that of finding
bad answers. FRANK: good is a summary whose every sentence people call factual.
"""
HEAD = (
    "scorer",
    "n",
    "documents",
    "good",
    "AUROC",
    "kappa",
    "sens.",
    "spec.",
    "balanced accuracy",
    "F1",
    "J",
    "may gate",
)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=DATA)
    parser.add_argument("--write", action="store_true", help="write results/calibration.md too")
    options = parser.parse_args()
    if not (options.folder / "frank_metrics.parquet").exists():
        print(f"{options.folder}: no frank_metrics.parquet there\n\n{__doc__}", file=sys.stderr)
        return 2
    text = "\n".join(document(options.folder)) + "\n"
    print(text)
    if options.write:
        (HERE / "results" / "calibration.md").write_text(text, encoding="utf-8")
    return 0


def document(folder: Path) -> Iterator[str]:
    yield ABOUT
    rows = ragtruth.read(folder / "ragtruth.jsonl.gz")
    yield "## RAGTruth, all answers\n"
    yield from table(of_ragtruth(rows))
    yield "\n## RAGTruth, answers of the test split\n"
    yield from table(of_ragtruth([row for row in rows if row["split"] == "test"]))
    yield "\n## FRANK, fifteen metrics\n"
    yield from table(of_frank(folder / "frank_metrics.parquet"))
    yield "\n## PPI++ under a judge that likes the candidate's style\n"
    yield from ppi_table()


def of_ragtruth(rows: Sequence[dict]) -> Iterator[tuple[str, list[Labelled]]]:
    scorers = {
        "grounding": lambda row: unsupported(row["response"], [row["context"]]).support,
        "unigram novelty, different words": lambda row: 1.0 - ragtruth.novelty(row, once=True),
        "unigram novelty, all words": lambda row: 1.0 - ragtruth.novelty(row),
    }
    for name, score in scorers.items():
        yield (
            name,
            [
                Labelled(
                    row["source_id"], row["id"], row["source_id"], (), Score(score(row)), good=not row["hallucinated"]
                )
                for row in rows
            ],
        )


def of_frank(path: Path) -> Iterator[tuple[str, list[Labelled]]]:
    import pyarrow.parquet as parquet

    rows = parquet.read_table(path).to_pylist()
    for name in [key for key in rows[0] if key not in {"id", "model", "dataset", "split", "human_factuality"}]:
        values = [row[name] for row in rows if known(row[name])]
        low, high = min(values), max(values)
        yield name, [labelled_summary(row, row[name], low, high) for row in rows]


def known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def labelled_summary(row: dict, value: float | None, low: float, high: float) -> Labelled:
    """The metric on a scale from 0 to 1, over all that it gave: order is kept, and order is all that a cut needs."""
    score = Score((value - low) / (high - low)) if known(value) else Unscored("judge_error", "no value")
    good = row["human_factuality"] >= 1.0
    return Labelled(row["id"], f"{row['model']} {row['dataset']}", row["id"], (), score, good=good)


def table(scorers: Iterator[tuple[str, list[Labelled]]]) -> Iterator[str]:
    yield line(HEAD)
    yield line("---" for _ in HEAD)
    for name, rows in scorers:
        try:
            found = calibrate(rows, MetricSpec(name, name), human="people", cut=Cut(), made_at=MADE_AT)
        except AigateError as error:
            yield line((name, str(len(rows)), *[""] * (len(HEAD) - 3), error.message.split(" (")[0]))
            continue
        yield line(cells(name, found))


def cells(name: str, found: Calibration) -> Iterator[str]:
    quality = found.overall
    yield from (name, str(quality.n), str(quality.groups), f"{quality.good / quality.n:.0%}")
    yield f"{quality.auroc.value:.3f} ({quality.auroc.low:.3f} to {quality.auroc.high:.3f})"
    for figure in (quality.kappa, quality.sensitivity, quality.specificity, quality.balanced_accuracy):
        yield f"{figure.value:.3f}"
    yield f"{f1(found):.3f}"
    j = quality.youden_j
    yield f"{j.value:.3f} ({j.low:.3f} to {j.high:.3f})"
    yield "yes" if found.strong else "no"


def f1(found: Calibration) -> float:
    """Of calling bad answers bad."""
    quality = found.overall
    bad = quality.n - quality.good
    caught = quality.specificity.value * bad
    return 2.0 * caught / (caught + bad - caught + caught + (1.0 - quality.sensitivity.value) * quality.good)


def line(parts: object) -> str:
    return f"| {' | '.join(parts)} |"


def ppi_table() -> Iterator[str]:
    """Coverage of the 90 % interval, and drops of ten points that are blocked, of 500 samples."""
    yield (
        f"500 samples, {RUNS} runs a cell: people's 0/1 with a true drop, a judge of sensitivity .9 whose specificity"
        " falls from .8 to .7 with the candidate's style. Coverage of the 90 % interval at a drop of 5 points; share of"
        " drops of 10 points whose interval lies below 0, with people alone beside it.\n"
    )
    yield line(
        ("labels", "coverage", "people alone", "width against people alone", "seen at 10 points", "people alone")
    )
    yield line("---" for _ in range(6))
    for labels in (50, 100, 200):
        random = np.random.default_rng(labels)
        covered, alone, narrower = 0, 0, []
        seen = [0, 0]
        for _ in range(RUNS):
            human, judge, others = styled(random, labels, drop=0.05)
            both, people = ppi_mean(human, judge, others), ppi_mean(human, judge, [])
            covered += both.low <= -0.05 <= both.high
            alone += people.low <= -0.05 <= people.high
            narrower += [(both.high - both.low) / (people.high - people.low)] if people.se > 0.0 else []
            human, judge, others = styled(random, labels, drop=0.10)
            seen[0] += ppi_mean(human, judge, others).high < 0.0
            seen[1] += ppi_mean(human, judge, []).high < 0.0
        shares = (covered, alone, None, *seen)
        told = [f"{np.mean(narrower):.2f}" if share is None else f"{share / RUNS:.1%}" for share in shares]
        yield line((str(labels), *told))


def styled(random: np.random.Generator, labels: int, *, drop: float, cases: int = 500) -> tuple:
    """Differences by people and by the judge on the labelled cases, and by the judge on the others."""
    before = random.random(cases) < 0.88
    after = np.where(random.random(cases) < 0.6, before, random.random(cases) < 0.88 - drop / 0.4)
    judged = [
        np.where(truth, random.random(cases) < 0.9, random.random(cases) >= specificity).astype(float)
        for truth, specificity in ((before, 0.8), (after, 0.7))
    ]
    human, judge = after.astype(float) - before, judged[1] - judged[0]
    return human[:labels], judge[:labels], judge[labels:]


if __name__ == "__main__":
    sys.exit(main())
