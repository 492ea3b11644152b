"""What imports of questions with right answers share: scorers, the prompt, and the answers that came with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aigate.core.counts import count_of
from aigate.core.sample import Sample
from aigate.goldens.peers.base import ANSWERS_FILE, PeerSuite, compared

__all__ = ["question_suite"]

OWN_VERSION = "gpt-4o/2024-11-20/v1"
PROMPT = """\
---
description: Written by the import; put your application's own prompt here.
---
system:
Answer the question from the passages.

user:
{% for passage in contexts %}
[{{ loop.index }}] {{ passage }}
{% endfor %}
Question: {{ input }}
"""


def question_suite(
    peer: str,
    samples: tuple[Sample, ...],
    answers: Iterable[tuple[Sample, Any]],
    *,
    left_out: Sequence[str] = (),
) -> PeerSuite:
    """A suite of questions, gated by how much of the right answer the answers have.

    Args:
        peer: The tool.
        samples: The samples.
        answers: What the source says was answered, by sample; anything but a text is no answer.
        left_out: What could not be carried over.
    """
    recorded = tuple({"id": sample.id, "output": text} for sample, text in answers if isinstance(text, str) and text)
    whole = len(recorded) == len(samples)
    asked = [sample for sample in samples if sample.reference is not None]
    grounded = bool(samples) and all(sample.contexts for sample in samples)
    scorers = (*(['"token_f1"'] if asked else []), *(['"grounding"'] if grounded else []), '"shape"')
    primary = "token_f1" if asked else "grounding" if grounded else "shape"
    notes = [f"the answers of the source stand in {ANSWERS_FILE}; to gate your own: --provider, --version, --target"]
    missing = (
        [f"{count_of(len(samples) - len(asked), 'case has', 'cases have')} no right answer: no score of token_f1"]
        if asked
        else []
    )
    return PeerSuite(
        samples=samples,
        scorers=scorers,
        checks=compared(primary),
        primary_metric=primary,
        version=f"{peer}/recorded/v1" if whole else OWN_VERSION,
        provider="replay" if whole else "openai",
        provider_options={"recorded": ANSWERS_FILE} if whole else {},
        prompts={"v1": PROMPT} if grounded else {},
        answers=recorded,
        left_out=tuple(left_out),
        notes=(*(notes if recorded else []), *(missing if len(asked) < len(samples) else [])),
    )
