"""ragas: an `@experiment` with its exact-match metric, stored by its CSV backend. It has no bound on requests in flight
of its own, so that a semaphore stands in the experiment, as its documents show."""

import asyncio
import json
import sys
from pathlib import Path

from openai import AsyncOpenAI
from ragas import Dataset, experiment
from ragas.metrics.collections import ExactMatch


async def main(samples: str, base_url: str, model: str, concurrency: int) -> None:
    dataset = Dataset(name="samples", backend="local/csv", root_dir=".")
    for line in Path(samples).read_text("utf-8").splitlines():
        dataset.append(json.loads(line))
    semaphore, metric = asyncio.Semaphore(concurrency), ExactMatch()

    @experiment()
    async def asked(row: dict) -> dict:
        message = {"role": "user", "content": row["input"]}
        async with semaphore:
            answer = await client.chat.completions.create(model=model, messages=[message], temperature=0)
        output = answer.choices[0].message.content
        score = await metric.ascore(reference=row["reference"], response=output)
        return {"id": row["id"], "output": output, "passed": score.value}

    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        await asked.arun(dataset, name="run")


asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
