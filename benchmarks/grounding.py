"""How well the scorer `grounding` finds answers with hallucinations: AUROC on RAGTruth, and its speed.

The data is `ragtruth.jsonl.gz`: RAGTruth (Niu et al., 2024; MIT), one JSON object a line with `task`, `split`,
`context`,
`response` and `hallucinated`. It is not part of the repository: take `response.jsonl` and `source_info.jsonl` from the
ParticleMedia/RAGTruth project and join them on `source_id` (`hallucinated`: the answer has at least one label).

    python benchmarks/grounding.py [PATH]        default: ../shared/data/ragtruth.jsonl.gz beside the repository
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
from pathlib import Path

from sklearn.metrics import roc_auc_score

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Score
from aigate.scorers.base import ScorerSettings, make_scorer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ragtruth.jsonl.gz"
WORD = re.compile(r"\w+")


def main(path: Path) -> None:
    """Print AUROC over all and per task, for `grounding` and for plain unigram novelty, and milliseconds per sample."""
    if not path.exists():
        sys.exit(f"{path} does not exist; {__doc__}")
    rows = [row for row in read(path) if row["split"] == "test"]
    started = time.perf_counter()
    grounding = grounding_scores(rows)
    elapsed_s = time.perf_counter() - started
    novelty = [1.0 - unigram_novelty(row) for row in rows]
    distinct = [1.0 - unigram_novelty(row, once=True) for row in rows]
    print(f"{'AUROC':12} {'rows':>6} {'grounding':>10} {'novelty':>10} {'distinct':>10}")
    for task in ("all", *sorted({row["task"] for row in rows})):
        chosen = [i for i, row in enumerate(rows) if task in ("all", row["task"])]
        figures = [auroc(rows, scores, chosen) for scores in (grounding, novelty, distinct)]
        print(f"{task:12} {len(chosen):6} " + " ".join(f"{figure:10.3f}" for figure in figures))
    print(f"{1000 * elapsed_s / len(rows):.2f} ms per sample")


def read(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def grounding_scores(rows: list[dict]) -> list[float]:
    scorer = make_scorer(ScorerSettings("grounding"))
    scores = []
    for row in rows:
        score = scorer.score(Sample(row["id"], "", contexts=(row["context"],)), Response(row["response"]))
        assert isinstance(score, Score), score
        scores.append(score.value)
    return scores


def unigram_novelty(row: dict, *, once: bool = False) -> float:
    held = set(WORD.findall(row["context"].lower()))
    words = WORD.findall(row["response"].lower())
    words = sorted(set(words)) if once else words
    return sum(word not in held for word in words) / len(words) if words else 0.0


def auroc(rows: list[dict], scores: list[float], chosen: list[int]) -> float:
    return roc_auc_score([rows[i]["hallucinated"] for i in chosen], [1.0 - scores[i] for i in chosen])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
