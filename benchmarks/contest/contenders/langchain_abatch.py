"""LangChain: `ChatOpenAI.abatch` with its `max_concurrency`. Retries are its own."""

import asyncio
import json
import sys
from pathlib import Path

from langchain_openai import ChatOpenAI


async def main(samples: str, base_url: str, model: str, concurrency: int) -> None:
    rows = [json.loads(line) for line in Path(samples).read_text("utf-8").splitlines()]
    chat = ChatOpenAI(model=model, base_url=base_url, api_key="none", temperature=0)
    config = {"max_concurrency": concurrency}
    answers = await chat.abatch([row["input"] for row in rows], config=config, return_exceptions=True)
    with Path("results.jsonl").open("w", encoding="utf-8") as file:
        for row, answer in zip(rows, answers, strict=True):
            file.write(f"{json.dumps({'id': row['id'], **result(row, answer)})}\n")


def result(row: dict, answer: object) -> dict:
    if isinstance(answer, BaseException):
        return {"error": str(answer)}
    return {"output": answer.content, "passed": answer.content == row["reference"]}


asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
