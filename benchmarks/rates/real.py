"""Recorded answers of real versions, read from `../shared/suites` where it lies beside the repository."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import numpy as np

SUITES = Path(__file__).resolve().parents[3] / "shared" / "suites"

PAIRS: dict[str, tuple[str, str, str, str, bool]] = {
    "ragtruth": ("ragtruth", "human_faithful", "gpt-4-0613", "gpt-3.5-turbo-0613", True),
    "ragtruth-llama": ("ragtruth", "human_faithful", "llama-2-13b-chat", "llama-2-70b-chat", True),
    "gsm8k": ("gsm8k", "correct", "6b_finetuning", "6b_verification", True),
    "llmdrift-prime": ("llmdrift-prime", "correct", "gpt-4-0314", "gpt-4-0613", True),
}
"""Name: suite, metric, the two recordings, 0/1."""


def available() -> bool:
    """Whether the recordings are there."""
    return SUITES.is_dir()


@cache
def pair(name: str) -> np.ndarray:
    """Scores of two real versions on the samples both answered: shape (2, n)."""
    suite, metric, first, second, _ = PAIRS[name]
    one, two = (_scores(SUITES / suite / "recorded" / f"{run}.jsonl.gz", metric) for run in (first, second))
    return np.array([[one[key], two[key]] for key in sorted(one.keys() & two.keys())]).T


@cache
def repeats() -> np.ndarray:
    """Rewards of tau-bench airline by one model: shape (tasks, repeats)."""
    scores = _scores(SUITES / "taubench-airline" / "recorded" / "gpt-4o.jsonl.gz", "reward")
    tasks = sorted({task for task, _ in scores})
    count = 1 + max(repeat for _, repeat in scores)
    return np.array([[scores[task, repeat] for repeat in range(count)] for task in tasks])


def resampled_equal(random: np.random.Generator, name: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """An A/A pair of `n` samples: real pairs drawn with replacement, the arms of each swapped by a coin."""
    if name == "taubench":
        rewards = repeats()
        rows = random.integers(0, len(rewards), n)
        columns = random.random((n, rewards.shape[1])).argsort(axis=1)[:, :2]
        return rewards[rows, columns[:, 0]], rewards[rows, columns[:, 1]]
    arms = pair(name)
    rows, swapped = random.integers(0, arms.shape[1], n), random.random(n) < 0.5
    return np.where(swapped, arms[1, rows], arms[0, rows]), np.where(swapped, arms[0, rows], arms[1, rows])


def _scores(path: Path, metric: str) -> dict:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    found = {}
    for row in rows:
        value = row.get("scores", {}).get(metric)
        if value is not None:
            found[(row["id"], row["repeat"]) if metric == "reward" else row["id"]] = float(value)
    return found
