r"""The scorer `classification`: a label is read out of the output and compared with the reference.

==============  ========================================================================================================
option          meaning
==============  ========================================================================================================
`labels`        the labels there are. Given: an output that is a label, or that mentions one. Not given: the whole
                output is the label
`pattern`       a regular expression with one group, which is the label: `Answer: *(\w+)`
`position`      where several labels are mentioned: only (default) demands that all mentions are of one label, first,
                last
`case`          fold (default): capital and small letters are the same; keep
`metric`        the metric's name (accuracy)
==============  ========================================================================================================

Space, quotes, brackets and sentence marks around a label are no part of it: `"[Yes]."` is `yes`. The longest label wins
where one contains another (`not prime`, `prime`). A negation is not understood: "it is not spam" mentions `spam`.

Regular expressions can take exponential time on an output made for them, and Python cannot stop it: write patterns
without nested repetition. Outputs of more than 100,000 characters are not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import ConfigError
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.options import metric_option, pattern_option, texts_option, word_option
from aigate.scorers.reading import alternatives, output_of, shown, shown_words

__all__ = ["Classification", "Confusion", "from_settings"]

NONE = "(none)"
OTHER = "(other)"
OUTPUT_CHARS = 100_000
LABEL_CHARS = 200
POSITIONS = ("only", "first", "last")
AROUND = " \t\r\n\"'`*_[](){}<>“”‘’«».,;:!?"

_SPACES = re.compile(r"\s+")


def from_settings(settings: ScorerSettings) -> Scorer:
    """Make the scorer.

    Raises:
        ConfigError: An unknown option, a value it cannot have, or two labels that read the same.
    """
    settings.only("metric", "labels", "pattern", "case", "position")
    labels = texts_option(settings, "labels") or ()
    pattern = pattern_option(settings, "pattern", groups=1)
    fold = word_option(settings, "case", ("fold", "keep"), default="fold") == "fold"
    position = word_option(settings, "position", POSITIONS, default="only") or "only"
    _refuse_twins(settings, labels, fold=fold)
    metric = metric_option(settings, "accuracy")
    options = {
        "metric": metric,
        "labels": list(labels) or None,
        "pattern": None if pattern is None else pattern.pattern,
        "case": "fold" if fold else "keep",
        "position": position,
    }
    return Classification(MetricSpec(metric, "classification", options=options), labels, pattern, position, fold)


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each true label was answered with which.

    Attributes:
        labels: The classes, in the order of the rows; then `(none)` (no label, or no answer) and `(other)` (a label
            that is no class).
        matrix: One row per class, one column per entry of `labels`; counts of answers.
    """

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Classification:
    """1.0 when the label read is the reference's, else 0.0; `answer` is the label read.

    An output without a label is unparseable. The labels' numbers over a run are macro means over classes; the classes
    are the labels of all references and of the option `labels`. A faulted or unreadable answer is a wrong prediction of
    no class.
    """

    spec: MetricSpec
    labels: tuple[str, ...]
    pattern: re.Pattern[str] | None
    position: str
    fold: bool

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without one reference label lie outside the metric."""
        if sample.reference is None:
            return Unscored("no_reference", "the sample has no reference")
        if self._truth(sample) is None:
            return Unscored(
                "not_applicable", f"a class has one label, the reference is {shown(repr(sample.reference))}"
            )
        return None

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:
        """Read the label and compare it."""
        outside = self.applies_to(sample)
        if outside is not None:
            return outside
        output, truth = output_of(response), self._truth(sample)
        try:
            label = self._read(output)
        except ValueError as error:
            return Unscored("unparseable", f"{error}, in {shown(output)}")
        stray = "" if not self.labels or truth in self.labels else ", which is not among the labels"
        explanation = f"got {shown(label)}, expected {shown(truth or '')}{stray}; read from {shown(output)}"
        return Score(float(label == truth), explanation, answer=label)

    @property
    def run_metrics(self) -> tuple[str, ...]:
        """Names of the numbers over a run; a policy puts the metric before them: `accuracy.f1_macro`."""
        return ("accuracy", "precision_macro", "recall_macro", "f1_macro")

    def over_run(self, rows: Sequence[tuple[Sample, ScoreOrNot]]) -> Mapping[str, float]:
        """Accuracy, and precision, recall and F1 per class and their means over classes.

        Undefined is left out: the precision of a class that was never predicted, the recall of one that is no
        reference. The macro means are over the classes that occur as references, and count what is undefined there
        as 0, the worst it can be: a model that only ever answers one label must not look precise.

        Args:
            rows: Samples with their scores; those that lie outside the metric or whose score is missing are passed
                over.

        Returns:
            Numbers in [0, 1] by name; empty without any row to judge.
        """
        from sklearn.metrics import precision_recall_fscore_support

        classes, truths, predictions = self._encoded(rows)
        if not truths:
            return {}
        per_class = precision_recall_fscore_support(
            truths, predictions, labels=range(len(classes)), average=None, zero_division=float("nan")
        )
        correct = sum(truth == prediction for truth, prediction in zip(truths, predictions, strict=True))
        numbers = {"accuracy": correct / len(truths)}
        for name, values in zip(("precision", "recall", "f1"), per_class, strict=False):
            numbers |= _defined(name, classes, [float(value) for value in values], occurring=set(truths))
        return numbers

    def confusion(self, rows: Sequence[tuple[Sample, ScoreOrNot]]) -> Confusion:
        """The confusion matrix of a run's rows; `(none)` and `(other)` only where they occur."""
        classes, truths, predictions = self._encoded(rows)
        counts = [[0] * (len(classes) + 2) for _ in classes]
        for truth, prediction in zip(truths, predictions, strict=True):
            counts[truth][prediction] += 1
        extra = [i for i in (len(classes), len(classes) + 1) if any(row[i] for row in counts)]
        columns = [*range(len(classes)), *extra]
        names = [*classes, NONE, OTHER]
        return Confusion(tuple(names[i] for i in columns), tuple(tuple(row[i] for i in columns) for row in counts))

    def _truth(self, sample: Sample) -> str | None:
        texts = alternatives(sample.reference)
        return self._label(texts[0]) if texts is not None and len(texts) == 1 else None

    def _read(self, output: str) -> str:
        """The label in an output.

        Raises:
            ValueError: There is none, or no single one; the message says which.
        """
        if len(output) > OUTPUT_CHARS:
            raise ValueError(f"the output has {len(output)} characters, at most {OUTPUT_CHARS} are read")
        mentions = [label for text in self._candidates(output) if (label := self._label(text))]
        if not mentions:
            raise ValueError("no label")
        distinct = list(dict.fromkeys(mentions))
        if self.position == "only" and len(distinct) > 1:
            raise ValueError(f"more than one label: {shown_words(distinct)}")
        label = mentions[-1 if self.position == "last" else 0]
        if len(label) > LABEL_CHARS:
            raise ValueError(f"no label: {len(label)} characters, a label has at most {LABEL_CHARS}")
        return label

    def _candidates(self, output: str) -> Iterator[str]:
        """The texts that may be labels, in the order of the output."""
        if self.pattern is not None:
            found = (match[1] for match in self.pattern.finditer(output) if match[1] is not None)
            yield from (text for text in found if not self.labels or self._label(text) in self.labels)
        elif not self.labels or self._label(output) in self.labels:
            yield output
        else:
            yield from (match[0] for match in self._mention().finditer(self._folded(output)))

    def _mention(self) -> re.Pattern[str]:
        longest_first = sorted({self._folded(label) for label in self.labels}, key=lambda text: (-len(text), text))
        return re.compile("|".join(rf"{_edge(text, 0)}{re.escape(text)}{_edge(text, -1)}" for text in longest_first))

    def _label(self, text: str) -> str:
        """A text as a label: as `labels` spells it, or without what stands around it; empty when nothing is left."""
        folded = self._folded(text)
        bare = folded.strip(AROUND) or folded
        for label in self.labels:
            known = self._folded(label)
            if known in (folded, bare) or (known.strip(AROUND) or known) == bare:
                return label
        return bare

    def _folded(self, text: str) -> str:
        folded = _SPACES.sub(" ", text).strip()
        return folded.casefold() if self.fold else folded

    def _encoded(self, rows: Sequence[tuple[Sample, ScoreOrNot]]) -> tuple[list[str], list[int], list[int]]:
        """Class names, and of each row the true and the predicted class; len(classes): no label, one more: no class."""
        judged = [(truth, score) for sample, score in rows if _counts(score) and (truth := self._truth(sample))]
        classes = list(dict.fromkeys([*self.labels, *sorted(truth for truth, _ in judged)]))
        index = {label: i for i, label in enumerate(classes)}
        answers = [score.answer if isinstance(score, Score) else None for _, score in judged]
        predictions = [len(classes) if answer is None else index.get(answer, len(classes) + 1) for answer in answers]
        return classes, [index[truth] for truth, _ in judged], predictions


def _refuse_twins(settings: ScorerSettings, labels: tuple[str, ...], *, fold: bool) -> None:
    seen: dict[str, str] = {}
    for label in labels:
        key = _SPACES.sub(" ", label).strip()
        key = (key.casefold() if fold else key).strip(AROUND) or key
        if key in seen:
            raise ConfigError(
                f"scorer '{settings.name}': the labels {seen[key]!r} and {label!r} read the same",
                hint='leave one out, or write case = "keep"',
            )
        seen[key] = label


def _edge(label: str, at: int) -> str:
    """A word boundary at that end of a label, where the label has a word character there."""
    if not (label[at].isalnum() or label[at] == "_"):
        return ""
    return r"(?<!\w)" if at == 0 else r"(?!\w)"


def _counts(score: ScoreOrNot) -> bool:
    """Whether a row is an answer of the candidate: a missing score that is its own fault is a wrong one."""
    return isinstance(score, Score) or score.reason == "unparseable"


def _defined(name: str, classes: Sequence[str], values: Sequence[float], *, occurring: set[int]) -> dict[str, float]:
    # Undefined is NaN in scikit-learn; it goes no further than this line.
    found = {label: value for label, value in zip(classes, values, strict=True) if math.isfinite(value)}
    macro = sum(found.get(classes[index], 0.0) for index in occurring) / len(occurring)
    return {f"{name}_macro": macro, **{f"{name}[{label}]": value for label, value in found.items()}}
