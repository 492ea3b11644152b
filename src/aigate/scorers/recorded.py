"""The scorer `recorded:NAME`: a score that others computed (people, another tool) and that the recording holds.

The metric is NAME, or what the option `metric` says. It is not deterministic: people may judge the same answer
differently twice, so equal outputs with unequal scores are no defect of the scorer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import ConfigError
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.options import metric_option
from aigate.scorers.reading import shown_words

__all__ = ["Recorded", "from_settings"]


def from_settings(settings: ScorerSettings) -> Scorer:
    """Make the scorer.

    Raises:
        ConfigError: No name after the colon, or an unknown option.
    """
    settings.only("metric", argument=True)
    name = settings.argument
    if not name.strip() or name != name.strip():
        raise ConfigError(
            f"scorer '{settings.name}' needs the name of a recorded score, got {name!r}",
            hint="write 'recorded:NAME', e.g. recorded:human_faithful",
        )
    metric = metric_option(settings, name)
    spec = MetricSpec(metric, f"recorded:{name}", options={"metric": metric}, deterministic=False)
    return Recorded(spec, name)


@dataclass(frozen=True)
class Recorded:
    """The recorded score of that name; a missing one, or one outside [0, 1], is missing: never 0."""

    spec: MetricSpec
    name: str

    def applies_to(self, sample: Sample) -> Unscored | None:  # noqa: ARG002
        """Every sample: where a label is missing, the recording is incomplete."""
        return None

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:  # noqa: ARG002
        """Read the recorded score."""
        value = response.scores.get(self.name)
        if value is None:
            held = shown_words(sorted(response.scores)) or "none"
            return Unscored("judge_error", f"the recording holds no score '{self.name}'; it has: {held}")
        if not _is_score(value):
            return Unscored(
                "judge_error", f"the recorded score '{self.name}' is {value!r}, expected a number in [0, 1]"
            )
        return Score(float(value), f"the recording says {self.name} = {float(value):g}")


def _is_score(value: Any) -> bool:
    """Whether a recorded value is a number in [0, 1]; a recording may hold anything."""
    return isinstance(value, int | float) and math.isfinite(value) and 0.0 <= value <= 1.0
