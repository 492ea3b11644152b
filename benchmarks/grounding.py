"""Where the weights of the scorer `grounding` come from, and how well it finds answers with unsupported spans.

    python benchmarks/grounding.py [FOLDER]            prints the tables; exits 1 where the source holds other weights
    python benchmarks/grounding.py [FOLDER] --write    and writes results/grounding.md

FOLDER (default: ../shared/data beside the repository) holds `ragtruth.jsonl.gz` and `begin_wow.jsonl.gz`, one JSON
object a line with `context`, `response`, `model` and `hallucinated` (RAGTruth also `source_id` and `task`). They are no
part of the repository. RAGTruth (Niu et al., 2024; MIT): join `response.jsonl` and `source_info.jsonl` of
ParticleMedia/RAGTruth on `source_id`; `hallucinated`: the answer has at least one label. BEGIN (Dziri et al., 2022;
CC BY 4.0): the Wizard of Wikipedia part of google/BEGIN-dataset; `hallucinated`: not fully attributable.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.scorers.grounding import INTERCEPT, WEIGHTS, unsupported

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
WORD = re.compile(r"\w+")
PENALTY = 30.0  # of half the squared weights, features in units of their spread: strong, so that weights stay even
FOLDS = 5
SHUFFLES = 20

ABOUT = f"""\
# The scorer `grounding` on answers that people judged

Made by `python benchmarks/grounding.py --write`. AUROC of telling answers with at least one unsupported span from the
others. `fitted elsewhere`: weights from the other folds (whole source documents; mean over {SHUFFLES} shuffles). `task
left out`, `model left out`: from the other tasks, or the answers of the other models. `shipped`: the weights in the
source, which were fitted on all rows of RAGTruth and none of BEGIN. `novelty`: share of words (`distinct`: of different
words) that the contexts do not hold.
"""


@dataclass(frozen=True)
class Table:
    """Labelled answers with all that is computed of them; one row each."""

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    tasks: np.ndarray
    models: np.ndarray
    rivals: dict[str, np.ndarray]
    ms: float

    @property
    def shipped(self) -> np.ndarray:
        return self.features @ np.array(list(WEIGHTS.values()))


def main() -> int:
    """Print the tables; 1 where the weights in the source are not those that are found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=DATA)
    parser.add_argument("--write", action="store_true", help="write results/grounding.md too")
    options = parser.parse_args()
    if not (options.folder / "ragtruth.jsonl.gz").exists():
        print(f"{options.folder}: no ragtruth.jsonl.gz there\n\n{__doc__}", file=sys.stderr)
        return 2
    ragtruth = table(read(options.folder / "ragtruth.jsonl.gz"))
    begin = table(read(options.folder / "begin_wow.jsonl.gz"))
    weights = fitted(ragtruth.features, ragtruth.labels)
    text = "\n".join(document(ragtruth, begin, weights)) + "\n"
    print(text)
    if options.write:
        (HERE / "results" / "grounding.md").write_text(text, encoding="utf-8")
    found = dict(zip([*WEIGHTS, "intercept"], weights.tolist(), strict=True))
    held = {**WEIGHTS, "intercept": INTERCEPT}
    differs = [name for name, value in found.items() if abs(value - held[name]) > 0.0051]
    if differs:
        print(f"the source holds other weights: {', '.join(differs)}", file=sys.stderr)
    return 1 if differs else 0


def read(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def table(rows: Sequence[dict]) -> Table:
    found = [unsupported(row["response"], [row["context"]]) for row in rows]
    return Table(
        features=np.array([list(each.features.values()) for each in found]),
        labels=np.array([row["hallucinated"] for row in rows], dtype=float),
        groups=np.array([row.get("source_id") or row["context"] for row in rows]),
        tasks=np.array([row.get("task", "all") for row in rows]),
        models=np.array([row["model"] for row in rows]),
        rivals={
            "novelty": np.array([novelty(row) for row in rows]),
            "distinct": np.array([novelty(row, once=True) for row in rows]),
        },
        ms=milliseconds(rows),
    )


def novelty(row: dict, *, once: bool = False) -> float:
    held = set(WORD.findall(row["context"].lower()))
    words = WORD.findall(row["response"].lower())
    words = sorted(set(words)) if once else words
    return sum(word not in held for word in words) / len(words) if words else 0.0


def milliseconds(rows: Sequence[dict]) -> float:
    """CPU time of one score, with all that the scorer does."""
    scorer = make_scorer(ScorerSettings("grounding"))
    pairs = [(Sample(str(i), "", contexts=(row["context"],)), Response(row["response"])) for i, row in enumerate(rows)]
    started = time.process_time()
    for sample, response in pairs:
        scorer.score(sample, response)
    return 1000.0 * (time.process_time() - started) / len(pairs)


def fitted(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The weights, none negative, and the intercept: ridge logistic regression on features in units of their spread."""
    spread = features.std(axis=0) + 1e-12
    design = np.column_stack((features / spread, np.ones(len(labels))))

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z, penalty = design @ w, np.append(w[:-1], 0.0) * PENALTY
        chance = 1.0 / (1.0 + np.exp(-z))
        value = (np.logaddexp(0.0, z) - labels * z).sum() + penalty @ w / 2.0
        return value / len(labels), (design.T @ (chance - labels) + penalty) / len(labels)

    bounds = [(0.0, None)] * features.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(design.shape[1]), jac=True, bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-9})
    return np.append(found.x[:-1] / spread, found.x[-1])


def elsewhere(data: Table, parts: np.ndarray) -> np.ndarray:
    """Scores of every row by weights that were fitted on the other parts."""
    scores = np.zeros(len(data.labels))
    for part in np.unique(parts):
        inside = parts == part
        weights = fitted(data.features[~inside], data.labels[~inside])
        scores[inside] = data.features[inside] @ weights[:-1]
    return scores


def folds(groups: np.ndarray, seed: int) -> np.ndarray:
    """A fold per row; rows of one group share it."""
    names, codes = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[codes]


def auroc(data: Table, scores: np.ndarray, rows: np.ndarray | None = None) -> float:
    chosen = np.ones(len(data.labels), dtype=bool) if rows is None else rows
    return float(roc_auc_score(data.labels[chosen], scores[chosen]))


def within(data: Table, scores: np.ndarray) -> float:
    """AUROC over pairs of answers of one model to one task: nothing is gained by telling models or tasks apart."""
    areas, pairs = [], []
    for task in np.unique(data.tasks):
        for model in np.unique(data.models):
            rows = (data.tasks == task) & (data.models == model)
            bad = data.labels[rows].sum()
            if 0 < bad < rows.sum():
                areas.append(auroc(data, scores, rows))
                pairs.append(bad * (rows.sum() - bad))
    return float(np.average(areas, weights=pairs))


def document(ragtruth: Table, begin: Table, weights: np.ndarray) -> Iterator[str]:
    yield ABOUT
    yield "## Weights\n"
    yield "| " + " | ".join([*WEIGHTS, "intercept"]) + " |"
    yield "| " + " | ".join("---" for _ in weights) + " |"
    yield "| " + " | ".join(f"{weight:.2f}" for weight in weights) + " |"
    yield f"\n## RAGTruth: {len(ragtruth.labels)} answers, {len(np.unique(ragtruth.groups))} source documents\n"
    shuffled = [elsewhere(ragtruth, folds(ragtruth.groups, seed)) for seed in range(SHUFFLES)]
    no_task, no_model = elsewhere(ragtruth, ragtruth.tasks), elsewhere(ragtruth, ragtruth.models)
    columns: dict[str, Callable[[np.ndarray | None], float]] = {
        "fitted elsewhere": lambda rows: float(np.mean([auroc(ragtruth, scores, rows) for scores in shuffled])),
        "task left out": lambda rows: auroc(ragtruth, no_task, rows),
        "model left out": lambda rows: auroc(ragtruth, no_model, rows),
        "shipped": lambda rows: auroc(ragtruth, ragtruth.shipped, rows),
        **{name: lambda rows, found=found: auroc(ragtruth, found, rows) for name, found in ragtruth.rivals.items()},
    }
    yield from _table(ragtruth, columns, apart={"task left out": "task", "model left out": "model"})
    all_rows = [auroc(ragtruth, scores) for scores in shuffled]
    yield f"\nOver all, fitted elsewhere, the {SHUFFLES} shuffles lie from {min(all_rows):.3f} to {max(all_rows):.3f}."
    told = {"grounding": np.mean([within(ragtruth, scores) for scores in shuffled])}
    told |= {name: within(ragtruth, found) for name, found in ragtruth.rivals.items()}
    shown = ", ".join(f"{name} {value:.3f}" for name, value in told.items())
    yield f"Within one model and one task (pairs of such answers only): {shown}."
    yield f"\n## BEGIN, Wizard of Wikipedia: {len(begin.labels)} answers, never fitted on\n"
    rivals = {name: lambda rows, found=found: auroc(begin, found, rows) for name, found in begin.rivals.items()}
    yield from _table(begin, {"shipped": lambda rows: auroc(begin, begin.shipped, rows), **rivals}, apart={})
    yield f"\nCPU time of one score: {ragtruth.ms:.2f} ms on RAGTruth, {begin.ms:.2f} ms on BEGIN."


def _table(data: Table, columns: dict[str, Callable], *, apart: dict[str, str]) -> Iterator[str]:
    """One line over all, one per task, one per model; what was left out by one thing is shown by that thing only."""
    yield "| answers | rows | unsupported | " + " | ".join(columns) + " |"
    yield "| " + " | ".join("---" for _ in range(len(columns) + 3)) + " |"
    parts: list[tuple[str, str, np.ndarray]] = [("all", "all", np.ones(len(data.labels), dtype=bool))]
    if len(np.unique(data.tasks)) > 1:
        parts += [("task", str(task), data.tasks == task) for task in np.unique(data.tasks)]
    parts += [("model", str(model), data.models == model) for model in np.unique(data.models)]
    for kind, name, rows in parts:
        cells = [f"{f(rows):.3f}" if apart.get(column, kind) == kind else "" for column, f in columns.items()]
        yield f"| {name} | {rows.sum()} | {data.labels[rows].mean():.1%} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
