"""Where the scatter of judged scores comes from: the judge, the system that answers, or the samples.

The model is the nested (hierarchical) random one: score = sample + answer within the sample + judgement within the
answer. Variances are estimated by the method of moments, from mean squares and their expectations (Searle, Casella and
McCulloch 1992, Variance Components, chapters 3 and 5), for any numbers of answers and judgements. An estimate below 0
is one of 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Noise", "split_noise"]


@dataclass(frozen=True, slots=True)
class Noise:
    """What one score scatters by.

    Attributes:
        judge: Standard deviation of one judgement among judgements of the same answer; None where no answer was judged
            twice.
        system: Standard deviation of the true scores of different answers to the same sample, the judge's scatter taken
            out; None where no sample has two answers, or the judge's scatter is not known.
    """

    judge: float | None
    system: float | None

    @property
    def judge_share(self) -> float | None:
        """The judge's share of the variance of one judgement of one answer, in [0, 1]; None where it is not known."""
        if self.judge is None or self.system is None:
            return None
        whole = self.judge**2 + self.system**2
        return self.judge**2 / whole if whole else 0.0


def split_noise(scores: Sequence[Sequence[Sequence[float]]]) -> Noise:
    """Split the scatter of scores.

    Args:
        scores: Per sample, per answer, the judgements; any numbers of each.

    >>> split_noise([[[0.0, 1.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]])
    Noise(judge=0.5, system=0.3535533905932738)
    """
    judge = _pooled_variance([votes for answers in scores for votes in answers])
    answers = [[votes for votes in sample if votes] for sample in scores]
    repeated = [sample for sample in answers if len(sample) > 1]
    between = _pooled_variance([[_mean(votes) for votes in sample] for sample in repeated])
    if judge is None or between is None:
        return Noise(None if judge is None else math.sqrt(judge), None)
    # E[between] = system + judge * (weighted mean of 1/judgements): the weights are those of the pooled variance.
    weights = [((len(sample) - 1) / len(sample), votes) for sample in repeated for votes in sample]
    degrees = sum(len(sample) - 1 for sample in repeated)
    of_judge = judge * sum(weight / len(votes) for weight, votes in weights) / degrees
    return Noise(math.sqrt(judge), math.sqrt(max(0.0, between - of_judge)))


def _pooled_variance(groups: Sequence[Sequence[float]]) -> float | None:
    """The variance within groups; None where no group has two values."""
    degrees = sum(len(group) - 1 for group in groups if group)
    if not degrees:
        return None
    squares = math.fsum((value - _mean(group)) ** 2 for group in groups for value in group)
    return squares / degrees


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
