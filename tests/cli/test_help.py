"""Every command says what it does, with an example that the command line takes."""

import re
import shlex

import pytest

from aigate.cli import main as cli


def parsers(parser=None):
    """Every parser of the command line that runs something, by the words that lead to it."""
    parser = parser or cli._parser()
    children = [action for action in parser._actions if hasattr(action, "_name_parser_map")]
    found = {} if children else {parser.prog.removeprefix("aigate").strip(): parser}
    for action in children:
        for child in action.choices.values():
            found |= parsers(child)
    return found


PARSERS = parsers()


@pytest.mark.parametrize("name", PARSERS)
def test_help_shows_an_example_that_is_taken(name):
    text = PARSERS[name].format_help()
    [example] = re.findall(r"^example: aigate (.*)$", text, re.MULTILINE)
    assert example.startswith(name)
    words = shlex.split(example)
    parsed = cli.parse(words[: words.index(">")] if ">" in words else words)
    assert callable(parsed.run)


@pytest.mark.parametrize("name", PARSERS)
def test_every_argument_is_explained(name):
    shown = [action for action in PARSERS[name]._actions if action.help != "==SUPPRESS=="]
    assert [action.dest for action in shown if not action.help] == []


def test_every_command_is_looked_at():
    assert {name.partition(" ")[0] for name in PARSERS} == set(cli.COMMANDS)
    assert len(PARSERS) > len(cli.COMMANDS)
