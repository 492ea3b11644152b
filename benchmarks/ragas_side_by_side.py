"""ragas by itself, `ragas:faithfulness` and our own `faithfulness` on 40 answers of RAGTruth, by one scripted judge.

    python benchmarks/ragas_side_by_side.py [FOLDER]            prints the tables
    python benchmarks/ragas_side_by_side.py [FOLDER] --write    and writes results/ragas.md

Needs the extra `ragas`. FOLDER (default: ../shared/suites/ragtruth beside the repository) holds `samples.jsonl` (`id`,
`input`, `contexts`) and `recorded/MODEL.jsonl.gz` (`id`, `output`), made of RAGTruth (Niu et al., 2024; MIT): join
`response.jsonl` and `source_info.jsonl` of ParticleMedia/RAGTruth on `source_id`. It is no part of the repository.

Everything goes over HTTP to a server on this machine. The judge takes each sentence for a claim, and calls it supported
where one sentence of the contexts holds most of its words: no judge to learn from, but the same one for all three.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["RAGAS_DO_NOT_TRACK"] = "true"

from aigate.core.score import Score
from aigate.running.evaluation import evaluate
from aigate.scorers.grounding import content_words
from aigate.testing import FakeJudge, FakeProvider, JudgeAsked, LoopbackServer, Reply, careful_judge

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "suites" / "ragtruth"
COUNT = 40
HELD = 0.6  # share of a claim's content words that a sentence of the contexts must hold
IN_FLIGHT = 8
MANY = 32  # in flight where nothing is said of it: with fewer, so many unusable replies would end the run as hopeless
LATENCY_S = 0.2
OWN, ADAPTED = "faithfulness", "ragas_faithfulness"
SUITE = """\
version = "recorded/1/v1"
scorers = ["faithfulness", "ragas:faithfulness"]

[policy]
checks = [{ check = "min-score", metric = "faithfulness", at-least = 0.5 }]
"""
ABOUT = f"""\
# ragas by itself, `ragas:faithfulness` and `faithfulness`, by one scripted judge

Made by `python benchmarks/ragas_side_by_side.py --write` over HTTP on one machine. `ragas`: its own collections API
(`Faithfulness(llm=llm_factory(...)).ascore(...)`) with an `AsyncOpenAI` client. `ragas:faithfulness` and
`faithfulness`: the scorers of aigate. The judge takes each sentence of an answer for a claim, and calls it supported
where one sentence of the contexts holds {HELD:.0%} of its content words.
"""

ABOUT_DEFECTS = """\
Scores that came out, how many of them are better and how many worse than with the judge above, and what they cost.
A missing score of aigate is a judge error: it is counted, and no verdict passes over it. Some of these judges are right
about an answer of one sentence. Where a judge finds no claims, `faithfulness` takes the sentences themselves, but for
headings, questions and courtesies, which the judge above counts.
"""


@dataclass(frozen=True)
class Case:
    """One answer to judge."""

    id: str
    question: str
    contexts: tuple[str, ...]
    answer: str


@dataclass
class Found:
    """What one judge's replies came to.

    Attributes:
        scores: By sample; NaN where a number is missing.
        errors: Why it is missing, by sample.
        requests: HTTP requests, by way of asking.
        tokens: What the way of asking knows of the tokens it cost.
    """

    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    errors: dict[str, dict[str, str]] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    if not (chosen.folder / "samples.jsonl").is_file():
        print(f"{chosen.folder}: no samples.jsonl; see --help for what it holds (RAGTruth)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as home, mock.patch.dict(os.environ, {"XDG_DATA_HOME": home}):
        text = "\n".join(document(cases_of(chosen.folder))) + "\n"  # ragas writes its user's id there
    print(text)
    if chosen.write:
        (HERE / "results" / "ragas.md").write_text(text, "utf-8")
    return 0


def cases_of(folder: Path) -> list[Case]:
    """One answer each to samples that lie evenly over the suite, of one model after the other."""
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text("utf-8").splitlines()]
    answers = {}
    for path in sorted((folder / "recorded").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            answers[path.name] = {row["id"]: row["output"] for row in map(json.loads, file) if row.get("output")}
    found = []
    for sample, model in zip(samples[:: max(1, len(samples) // COUNT)], cycle(answers), strict=False):
        if answer := answers[model].get(sample["id"]):
            found.append(Case(sample["id"], sample["input"], tuple(sample["contexts"]), answer))
    return found[:COUNT]


# The judge, and what may be wrong with it.


def passage(claim: str, contexts: Sequence[str]) -> str | None:
    """The sentence of the contexts that holds the most of a claim's content words, where it holds enough of them."""
    words = content_words(claim).keys()
    sentences = [part.strip() for context in contexts for part in re.split(r"(?<=[.!?])\s+|\n+", context)]
    best = max(sentences, key=lambda text: len(words & content_words(text).keys()), default="")
    return best if len(best) >= 12 and len(words & content_words(best).keys()) >= HELD * len(words) else None


Rows = list[Any]


@dataclass(frozen=True)
class Defect:
    """Something that judges do, as it shows in the rows of a reply.

    Attributes:
        told: What the judge does.
        taken_apart: What becomes of the statements (or of the sentences with their claims).
        verdicts: What becomes of the verdicts.
        as_text: What becomes of the reply's text.
    """

    told: str
    taken_apart: Callable[[Rows], Rows] = list
    verdicts: Callable[[Rows], Rows] = list
    as_text: Callable[[str], str] = str


def off_the_scale(rows: Rows) -> Rows:
    return [{**row, "verdict": {0: 2, "not_in_context": "mostly"}.get(row["verdict"], row["verdict"])} for row in rows]


def of_something_else(rows: Rows) -> Rows:
    """Verdicts on the example that the prompt shows."""
    john = {"statement": "John is a dedicated student.", "id": "john", "verdict": 1, "reason": "r", "quote": ""}
    good = {1: 1, 0: 1}
    return [
        {**row, **{key: john[key] for key in row}, "verdict": good.get(row["verdict"], "supported")} for row in rows
    ]


DEFECTS = (
    Defect("gives the first verdict only", verdicts=lambda rows: rows[:1]),
    Defect("gives verdicts that are no yes and no no", verdicts=off_the_scale),
    Defect("judges the example of the prompt", verdicts=of_something_else),
    Defect("gives the best verdict as often as there are verdicts", verdicts=lambda rows: best_of(rows)),
    Defect("takes only the first sentence of the answer apart", taken_apart=lambda rows: rows[:1]),
    Defect(
        "finds no statements in the answer",
        taken_apart=lambda rows: [{**row, "claims": []} for row in rows if isinstance(row, dict)],
    ),
    Defect("breaks off in the middle of its verdicts", as_text=lambda text: text[: len(text) * 2 // 3]),
)


def best_of(rows: Rows) -> Rows:
    best = max(rows, key=lambda row: row["verdict"] in {1, "supported"}, default=None)
    return [best for _ in rows]


def judge_with(defect: Defect) -> FakeJudge:
    """The judge, with a defect."""
    careful = careful_judge(passage)

    def rule(asked: JudgeAsked) -> Mapping[str, Any] | str:
        reply = careful.reply(asked.messages[:2] if asked.question != "prompt" else [_only_prompt(asked)])
        [(key, rows)] = reply.items()
        judges = bool(rows) and isinstance(rows[0], dict) and "verdict" in rows[0]
        changed = defect.verdicts(rows) if judges else defect.taken_apart(rows)
        text = json.dumps({key: changed}, ensure_ascii=False)
        return defect.as_text(text) if judges else text

    return FakeJudge(dict.fromkeys(("faithfulness_claims", "faithfulness_verdicts", "prompt"), rule))


def _only_prompt(asked: JudgeAsked) -> dict[str, str]:
    return {"role": "user", "content": asked.data["prompt"]}


# The three ways of asking.


def asked_all_ways(cases: Sequence[Case], judge: Callable[[Any], Reply]) -> Found:
    """What ragas, the adapter and our own scorer make of a judge."""
    found = Found()
    with LoopbackServer(judge) as server:
        alone = asyncio.run(by_ragas(cases, server.base_url))
        found.scores["ragas"] = {id_: value for id_, value in alone.items() if isinstance(value, float)}
        found.errors["ragas"] = {id_: type(why).__name__ for id_, why in alone.items() if not isinstance(why, float)}
        found.requests["ragas"] = len(server.requests)
        made = by_aigate(cases, server.base_url)
        for metric in (ADAPTED, OWN):
            scores = {result.sample_id: result.scores[metric] for result in made.results}
            found.scores[metric] = {id_: score.value for id_, score in scores.items() if isinstance(score, Score)}
            found.errors[metric] = {id_: score.reason for id_, score in scores.items() if not isinstance(score, Score)}
            uses = [result.judging[metric] for result in made.results]
            found.requests[metric] = sum(use.calls for use in uses)
            found.tokens[metric] = sum(use.input_tokens + use.output_tokens for use in uses)
    return found


@asynccontextmanager
async def metric_of(base_url: str, model: str = "judge", **options: Any) -> AsyncIterator[Any]:
    """The metric of ragas as its documentation makes it."""
    from openai import AsyncOpenAI
    from ragas.llms import llm_factory
    from ragas.metrics.collections import Faithfulness

    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        yield Faithfulness(llm=llm_factory(model, client=client, **options))


def inputs_of(case: Case) -> dict[str, Any]:
    return {"user_input": case.question, "response": case.answer, "retrieved_contexts": list(case.contexts)}


async def by_ragas(cases: Sequence[Case], base_url: str, **options: Any) -> dict[str, float | Exception]:
    """The scores of ragas itself, or what it raised, a few samples at a time."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(metric: Any, case: Case) -> float | Exception:
        async with gate:
            try:
                return float((await metric.ascore(**inputs_of(case))).value)
            except Exception as error:  # noqa: BLE001 - it is what is looked for
                return error

    async with metric_of(base_url, **options) as metric:
        values = await asyncio.gather(*(one(metric, case) for case in cases))
    return {case.id: value for case, value in zip(cases, values, strict=True)}


async def in_a_batch(cases: Sequence[Case], base_url: str) -> Sequence[Any]:
    """What ragas gives for all samples at once."""
    async with metric_of(base_url) as metric:
        return await metric.abatch_score([inputs_of(case) for case in cases])


def by_aigate(
    cases: Sequence[Case],
    base_url: str,
    *,
    journal: Path | None = None,
    version: str = "judge/1/v1",
    concurrency: int = MANY,
) -> Any:
    """A run of both scorers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "suite.toml").write_text(SUITE, "utf-8")
        rows = [{"id": case.id, "input": case.question, "contexts": list(case.contexts)} for case in cases]
        (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return evaluate(
            folder,
            provider=FakeProvider({case.id: case.answer for case in cases}),
            judge={
                "version": version,
                "base-url": base_url,
                "api-key-env": "",
                "concurrency": concurrency,
                "steering": "flag",
                "retries": 0,
            },
            journal=journal,
            out=folder / "run.jsonl",
            environ={},
        )


# The page.


def document(cases: Sequence[Case]) -> Iterator[str]:
    from ragas import __version__

    honest = asked_all_ways(cases, judge_with(Defect("")))
    yield ABOUT
    yield f"ragas {__version__}; {len(cases)} answers, one each to samples that lie evenly over the suite."
    yield from side_by_side(cases, honest)
    yield from defects(cases, honest)
    yield from around(cases)


def side_by_side(cases: Sequence[Case], honest: Found) -> Iterator[str]:
    alone, adapted, own = (honest.scores[name] for name in ("ragas", ADAPTED, OWN))
    same = sum(_alike(alone.get(case.id), adapted.get(case.id)) for case in cases)
    ours = sum(_alike(own.get(case.id), alone.get(case.id)) for case in cases)
    yield "\n## A judge that replies as it is asked\n"
    yield "| way | scores | mean | HTTP requests | words sent and received, as it knows them |"
    yield "| --- | --- | --- | --- | --- |"
    for name, told in (("ragas", "ragas"), (ADAPTED, "`ragas:faithfulness`"), (OWN, "`faithfulness`")):
        tokens = honest.tokens.get(name)
        yield (
            f"| {told} | {len(honest.scores[name])} | {_mean(honest.scores[name]):.4f} | {honest.requests[name]} "
            f"| {'no' if tokens is None else tokens} |"
        )
    yield f"\n`ragas:faithfulness` has the score of ragas in {same} of {len(cases)}, `faithfulness` in {ours}:\n"
    yield "| sample | ragas | `ragas:faithfulness` | `faithfulness` |"
    yield "| --- | --- | --- | --- |"
    for case in cases:
        cells = (_shown(honest, name, case.id) for name in ("ragas", ADAPTED, OWN))
        yield f"| {case.id} | {' | '.join(cells)} |"


def defects(cases: Sequence[Case], honest: Found) -> Iterator[str]:
    yield "\n## Where ragas is wrong: replies that it does not check\n"
    yield ABOUT_DEFECTS
    yield "| the judge | way | scores | mean | better | worse | none | requests |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for defect in DEFECTS:
        found = asked_all_ways(cases, judge_with(defect))
        for name, told in (("ragas", "ragas"), (ADAPTED, "`ragas:faithfulness`"), (OWN, "`faithfulness`")):
            numbers = {id_: value for id_, value in found.scores[name].items() if math.isfinite(value)}
            before = honest.scores[name]
            known = [(value, before[id_]) for id_, value in numbers.items() if id_ in before]
            better = sum(value > was + 1e-9 for value, was in known)
            worse = sum(value < was - 1e-9 for value, was in known)
            none = len(cases) - len(numbers)
            why = sorted({*found.errors[name].values(), *({"NaN"} if len(numbers) < len(found.scores[name]) else ())})
            mean = f"{_mean(numbers):.4f}" if numbers else ""
            told_why = f" ({', '.join(why)})" if why else ""
            yield (
                f"| {defect.told if name == 'ragas' else ''} | {told} | {len(numbers)} | {mean} | {better} | {worse} "
                f"| {none}{told_why} | {found.requests[name]} |"
            )


def around(cases: Sequence[Case]) -> Iterator[str]:
    yield "\n## Where ragas is wrong: around the replies\n"
    yield "| what | ragas | aigate |"
    yield "| --- | --- | --- |"
    yield from another_judge(cases)
    yield from one_error(cases)
    yield from in_flight(cases)
    yield from telemetry(cases)
    yield from evidence(cases)


def another_judge(cases: Sequence[Case]) -> Iterator[str]:
    """The same answers, judged by a careful judge and then by one that finds everything supported."""
    from ragas.cache import DiskCacheBackend

    generous = careful_judge(lambda _claim, contexts: contexts[0][:200])
    which = {"judge-1": careful_judge(passage), "judge-2": generous}

    def judge(seen: Any) -> Reply:
        return which[seen.body["model"]](seen)

    with LoopbackServer(judge) as server, tempfile.TemporaryDirectory() as name:
        cache = DiskCacheBackend(name)
        asyncio.run(by_ragas(cases, server.base_url, model="judge-1", cache=cache))
        before = len(server.requests)
        second = asyncio.run(by_ragas(cases, server.base_url, model="judge-2", cache=cache))
        alone = f"asked {len(server.requests) - before} times, mean {_mean(_numbers(second)):.4f}: the first judge's"
        cache.cache.close()
        journal = Path(name) / "journal.sqlite"
        by_aigate(cases, server.base_url, journal=journal)
        before = len(server.requests)
        again = by_aigate(cases, server.base_url, journal=journal)
        repeated = len(server.requests) - before
        other = by_aigate(cases, server.base_url, journal=journal, version="judge/2/v1")
        asked = sum(result.judging[ADAPTED].calls for result in other.results)
        mean = _mean(
            {r.sample_id: r.scores[ADAPTED].value for r in other.results if isinstance(r.scores[ADAPTED], Score)}
        )
        assert len(again.results) == len(cases)
    yield (
        f"| another judge, replies of the first kept (`cache=DiskCacheBackend`; the journal) | {alone} "
        f"| the same judge is asked {repeated} times, another one {asked} times, mean {mean:.4f} |"
    )


def one_error(cases: Sequence[Case]) -> Iterator[str]:
    """One sample whose judge cannot be reached, in a batch."""
    lost = json.dumps(cases[0].answer)[1:60]

    def judge(seen: Any) -> Reply:
        return Reply.status(500, "lost") if lost in json.dumps(seen.body) else careful_judge(passage)(seen)

    with LoopbackServer(judge) as server:
        try:
            alone = f"{len(asyncio.run(in_a_batch(cases, server.base_url)))} scores"
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            alone = f"`abatch_score` raises {type(error).__name__}: 0 scores"
        made = by_aigate(cases, server.base_url)
    scores = [result.scores[ADAPTED] for result in made.results]
    good = sum(isinstance(score, Score) for score in scores)
    yield f"| the judge fails on one sample of a batch | {alone} | {good} scores, {len(scores) - good} judge error |"


def in_flight(cases: Sequence[Case]) -> Iterator[str]:
    """Calls at once, from when the requests came in."""
    careful = careful_judge(passage)

    def judge(seen: Any) -> Reply:
        return Reply.text(careful(seen).output, latency_s=LATENCY_S)

    def most(requests: Sequence[Any]) -> int:
        starts = [request.at_s for request in requests]
        return max(sum(start <= other < start + LATENCY_S for other in starts) for start in starts)

    with LoopbackServer(judge) as server:
        asyncio.run(in_a_batch(cases, server.base_url))
        alone = most(server.requests)
    with LoopbackServer(judge) as server:
        by_aigate(cases, server.base_url, concurrency=IN_FLIGHT)
        ours = most(server.requests)
    yield (
        f"| calls in flight, {len(cases)} samples at once | {alone} (`abatch_score`; no limit) "
        f"| {ours} (`concurrency` {IN_FLIGHT}) |"
    )


def telemetry(cases: Sequence[Case]) -> Iterator[str]:
    """Requests to ragas's own server: counted, not sent."""
    import ragas._analytics as analytics

    with LoopbackServer(careful_judge(passage)) as server, mock.patch("requests.post") as sent:
        with mock.patch.dict(os.environ, {"RAGAS_DO_NOT_TRACK": "false"}):
            analytics.do_not_track.cache_clear()
            asyncio.run(by_ragas(cases, server.base_url))
        alone = sent.call_count
        analytics.do_not_track.cache_clear()
        by_aigate(cases, server.base_url)
    yield f"| posts to ragas's usage tracking, unless it is told not to | {alone} | {sent.call_count - alone} |"


def evidence(cases: Sequence[Case]) -> Iterator[str]:
    with LoopbackServer(careful_judge(passage)) as server:
        [found] = asyncio.run(in_a_batch(cases[:1], server.base_url))
        [result] = by_aigate(cases[:1], server.base_url).results
        body = server.requests[0].body
    kept = len(result.scores[ADAPTED].details["claims"])
    yield (
        f"| statements and verdicts behind the first score | reason {found.reason}, traces {found.traces} "
        f"| {kept} claims with verdict and reason |"
    )
    sent = ", ".join(f"`{key}` {body[key]}" for key in ("max_tokens", "temperature", "top_p") if key in body)
    yield f"| request parameters that nobody asked for | {sent} | none |"


def _numbers(found: Mapping[str, float | Exception]) -> dict[str, float]:
    return {id_: value for id_, value in found.items() if isinstance(value, float)}


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores) if scores else math.nan


def _alike(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) < 1e-6


def _shown(found: Found, name: str, id_: str) -> str:
    value = found.scores[name].get(id_)
    return found.errors[name].get(id_, "") if value is None else f"{value:.4f}"


if __name__ == "__main__":
    sys.exit(main())
