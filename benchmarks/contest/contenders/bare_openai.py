"""The loop one writes first: AsyncOpenAI, a semaphore, one task a sample. Retries are the SDK's own."""

import asyncio
import json
import sys
from pathlib import Path

from openai import AsyncOpenAI, OpenAIError


async def main(samples: str, base_url: str, model: str, concurrency: int) -> None:
    rows = [json.loads(line) for line in Path(samples).read_text("utf-8").splitlines()]
    semaphore = asyncio.Semaphore(concurrency)

    async def asked(row: dict) -> dict:
        message = {"role": "user", "content": row["input"]}
        async with semaphore:
            try:
                answer = await client.chat.completions.create(model=model, messages=[message], temperature=0)
            except OpenAIError as error:
                return {"id": row["id"], "error": str(error)}
        output = answer.choices[0].message.content
        return {"id": row["id"], "output": output, "passed": output == row["reference"]}

    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        results = await asyncio.gather(*map(asked, rows))
    Path("results.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in results), "utf-8")


asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
