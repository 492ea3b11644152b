"""DeepEval: `evaluate` with its own batching. The metric asks and compares, as a metric of DeepEval's own that calls a
model does; a case that fails is recorded and the others go on (`ignore_errors`). Its cache is off: with it (the
default) the time grows with the square of the samples."""

import json
import sys
from pathlib import Path

from deepeval import evaluate
from deepeval.evaluate import AsyncConfig, CacheConfig, DisplayConfig, ErrorConfig
from deepeval.metrics import BaseMetric
from deepeval.test_case import LLMTestCase
from openai import AsyncOpenAI


class AskedExactMatch(BaseMetric):
    """Ask the model, compare with the reference. The client is made once, for all copies that DeepEval makes."""

    client: AsyncOpenAI
    model_name: str

    def __init__(self, threshold: float = 1.0) -> None:
        self.threshold = threshold
        self.async_mode = True

    async def a_measure(self, test_case: LLMTestCase, *_args: object, **_options: object) -> float:
        message = {"role": "user", "content": test_case.input}
        answer = await self.client.chat.completions.create(model=self.model_name, messages=[message], temperature=0)
        self.reason = answer.choices[0].message.content
        self.score = float(self.reason == test_case.expected_output)
        self.success = self.score >= self.threshold
        return self.score

    def measure(self, test_case: LLMTestCase, *_args: object, **_options: object) -> float:
        raise NotImplementedError("asked asynchronously only")

    def is_successful(self) -> bool:
        return bool(self.success)

    @property
    def __name__(self) -> str:
        return "exact match"


def main(samples: str, base_url: str, model: str, concurrency: int) -> None:
    rows = [json.loads(line) for line in Path(samples).read_text("utf-8").splitlines()]
    AskedExactMatch.client = AsyncOpenAI(base_url=base_url, api_key="none")
    AskedExactMatch.model_name = model
    asked = "asked by the metric"
    cases = [
        LLMTestCase(name=row["id"], input=row["input"], actual_output=asked, expected_output=row["reference"])
        for row in rows
    ]
    found = evaluate(
        cases,
        [AskedExactMatch()],
        async_config=AsyncConfig(max_concurrent=concurrency),
        display_config=DisplayConfig(show_indicator=False, print_results=False, inspect_after_run=False),
        cache_config=CacheConfig(write_cache=False),
        error_config=ErrorConfig(ignore_errors=True),
    )
    with Path("results.jsonl").open("w", encoding="utf-8") as file:
        for result in found.test_results:
            data = result.metrics_data[0]
            told = {"error": data.error} if data.error else {"output": data.reason, "passed": data.success}
            file.write(f"{json.dumps({'id': result.name, **told})}\n")


main(*sys.argv[1:4], int(sys.argv[4]))
