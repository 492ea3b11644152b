"""The floor: the same requests over aiohttp by hand, nothing checked, nothing retried."""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp


async def main(samples: str, base_url: str, model: str, concurrency: int) -> None:
    rows = [json.loads(line) for line in Path(samples).read_text("utf-8").splitlines()]
    semaphore = asyncio.Semaphore(concurrency)

    async def asked(row: dict) -> dict:
        body = {"model": model, "messages": [{"role": "user", "content": row["input"]}], "temperature": 0}
        async with semaphore, session.post(f"{base_url}/chat/completions", json=body) as answer:
            if answer.status != 200:
                return {"id": row["id"], "error": f"HTTP {answer.status}"}
            output = (await answer.json())["choices"][0]["message"]["content"]
        return {"id": row["id"], "output": output, "passed": output == row["reference"]}

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
        results = await asyncio.gather(*map(asked, rows))
    Path("results.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in results), "utf-8")


asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
