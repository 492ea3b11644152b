"""The scorer `assertions`: rules that each sample brings itself, such as those of an imported promptfoo suite.

The sample's reference is an object: `{"assert": [{"type": "contains", "value": "45 days"}, ...]}`. Nothing of it is
ever shown to the model. The score is 1.0 when all rules hold, else 0.0; with `"threshold": 0.5` in the reference, when
the rules that hold have that share of the weight (`"weight"` of a rule, 1 by default).

===========================  ===========================================================================================
type                         holds when the output
===========================  ===========================================================================================
`equals`                     is the value; an object or a list is compared as JSON
`contains`, `icontains`      has the value somewhere; the second takes capital and small letters as the same
`contains-any`, `-all`       has any, or all, of a list of values; also as `icontains-any` and `icontains-all`
`starts-with`, `ends-with`   begins, or ends, with the value
`regex`                      has a part that matches the regular expression
`is-json`, `contains-json`   is JSON, or has an object or array in it; with a value, one that this JSON Schema accepts
`word-count`                 has that many words, or between `min` and `max`
`levenshtein`                is at most `threshold` (5) single-character edits from the value
===========================  ===========================================================================================

What takes a model stands beside the rules: `"criteria"` for `rubric`, `"similar"` for `similarity`.

`not-` before a type turns it round. The option `metric` gives the metric another name.

A regular expression can take exponential time on an output made for it, and Python cannot stop it: write patterns
without nested repetition. Outputs of more than 20,000 characters fail a `regex` and a `levenshtein`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aigate.core.counts import count_of
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.goldens.assertions import assertion_defect, assertion_holds, assertion_shown, assertion_weight
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.options import metric_option
from aigate.scorers.reading import output_of, shown

__all__ = ["Assertions", "from_settings"]

REFERENCE = '{"assert": [{"type": "contains", "value": "..."}]}'


def from_settings(settings: ScorerSettings) -> Scorer:
    """Make the scorer.

    Raises:
        ConfigError: An unknown option.
    """
    settings.only("metric")
    metric = metric_option(settings, "assertions")
    return Assertions(MetricSpec(metric, "assertions", options={"metric": metric}))


@dataclass(frozen=True)
class Assertions:
    """1.0 when the rules of the sample hold, else 0.0; the explanation names those that do not."""

    spec: MetricSpec

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples whose reference holds no rules lie outside the metric."""
        if sample.reference is None:
            return Unscored("no_reference", "the sample has no reference")
        if not _rules(sample):
            return Unscored("not_applicable", f"the reference holds no rules; expected {REFERENCE}")
        return None

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:
        """Try every rule."""
        outside = self.applies_to(sample)
        if outside is not None:
            return outside
        rules, output = _rules(sample), output_of(response)
        if defect := next((defect for rule in rules if (defect := assertion_defect(rule))), ""):
            return Unscored("judge_error", f"a rule of the sample cannot be tried: {defect}")
        failed = [rule for rule in rules if not assertion_holds(rule, output)]
        lost, total = sum(map(assertion_weight, failed)), sum(map(assertion_weight, rules))
        threshold = sample.reference.get("threshold")
        passed = not failed if threshold is None else ((total - lost) / total if total else 0.0) >= threshold
        told = "; ".join(map(assertion_shown, failed))
        if passed:
            return Score(
                1.0,
                f"{len(rules) - len(failed)} of"
                f" {count_of(len(rules), 'rule holds', 'rules hold')}{f', not: {told}' if told else ''}",
            )
        return Score(0.0, f"does not hold for {shown(output)}: {told}")


def _rules(sample: Sample) -> Sequence[Any]:
    reference = sample.reference
    rules = reference.get("assert") if isinstance(reference, dict) else None
    return rules if isinstance(rules, list) else []
