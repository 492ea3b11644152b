#!/usr/bin/env python3
"""Read the code blocks of README.md, so that what runs in CI is what the README says, and nothing is said twice.

A block is named in its info string: a fence that opens with three backticks and `sh main-job` is the block `main-job`.
`python3 .ci/readme.py main-job` prints that block. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["README", "Block", "blocks", "main", "named"]

README = Path(__file__).parent.parent / "README.md"
FENCE = "```"


@dataclass(frozen=True)
class Block:
    """One fenced code block.

    Attributes:
        language: The first word of its info string; empty without one.
        name: The rest of the info string; empty without one.
        text: What stands between the fences, every line ended.
        line: Line of the opening fence in the file, from 1.
    """

    language: str
    name: str
    text: str
    line: int


def blocks(markdown: str) -> tuple[Block, ...]:
    r"""Every fenced code block, in order.

    Raises:
        ValueError: A fence is never closed; names its line.

    >>> blocks("```sh greet\necho hello\n```\n")
    (Block(language='sh', name='greet', text='echo hello\n', line=1),)
    """
    found: list[Block] = []
    opened, info, inside = 0, "", list[str]()
    for number, line in enumerate(markdown.splitlines(), start=1):
        if not opened and line.startswith(FENCE):
            opened, info, inside = number, line.removeprefix(FENCE), []
        elif opened and line.rstrip() == FENCE:
            language, _, name = info.strip().partition(" ")
            found.append(Block(language, name.strip(), "".join(f"{text}\n" for text in inside), opened))
            opened = 0
        else:
            inside.append(line)
    if opened:
        raise ValueError(f"line {opened}: this code block is never closed")
    return tuple(found)


def named(name: str, *, readme: Path = README) -> Block:
    """The one block of that name.

    Raises:
        LookupError: There is none, or more than one; names the blocks there are.
    """
    every = blocks(readme.read_text("utf-8"))
    found = [block for block in every if block.name == name]
    if len(found) != 1:
        known = ", ".join(block.name for block in every if block.name)
        raise LookupError(f"{readme.name}: {len(found)} blocks are named '{name}', expected one (there are: {known})")
    return found[0]


def main(arguments: list[str]) -> int:
    """Print the block that the one argument names."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python3 .ci/readme.py BLOCK\n")
        return 2
    try:
        sys.stdout.write(named(arguments[0]).text)
    except (LookupError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
