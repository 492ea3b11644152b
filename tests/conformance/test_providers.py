"""One contract for every built-in provider, and for each clause a provider that breaks it and must be rejected."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from aigate.core.digest import canonical_json
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import CallError
from aigate.providers.base import PROVIDERS, Provider, ProviderSettings, Request, make_provider, most_repeats_of
from aigate.testing import LoopbackServer, Reply

VERSION = VersionId("m", "1", "v1")
SECRET = "sk-conformance-0123456789"  # noqa: S105
REFERENCE = "REFERENCE-SENTINEL-7f3a"
SAMPLES = tuple(
    Sample(
        f"s{number:02}",
        f"What is the code of box {number}?",
        reference=REFERENCE,
        contexts=(f"Boxes stand in a row. The code of box {number} is {number * 7919}.",),
    )
    for number in range(20)
)


@dataclass
class Subject:
    """A provider under the contract.

    Attributes:
        provider: It.
        expected: The right output for a sample.
        sent: All that left for the outside, as text.
    """

    provider: Provider
    expected: Callable[[Sample], str]
    sent: Callable[[], str] = field(default=lambda: "")


Case = Callable[[Path], "Iterator[Subject]"]


@contextmanager
def openai_subject(folder):
    with LoopbackServer(api_key=SECRET) as server:
        options = {"base-url": server.base_url, "default-headers": {"x-token": "env:TOKEN"}}
        yield Subject(
            made("openai", folder, options),
            expected=lambda sample: sample.text,
            sent=lambda: json.dumps([[seen.path, dict(seen.headers), seen.body] for seen in server.requests]),
        )


@contextmanager
def openai_failing(folder):
    with LoopbackServer(lambda seen: Reply.status(500, "down")) as server:
        yield made("openai", folder, {"base-url": server.base_url})


@contextmanager
def callable_subject(folder):
    (folder / "bot.py").write_text(
        "import time\nSEEN = []\n\ndef answer(request):\n    SEEN.append(repr(request))\n    time.sleep(0.01)\n"
        "    return request.sample.input + '!'\n\ndef seen(_):\n    return '\\n'.join(SEEN)\n"
    )
    provider = made("callable", folder, {"target": "bot.py:answer"})
    seen = provider._function.__globals__["SEEN"]
    yield Subject(provider, expected=lambda sample: sample.text + "!", sent=lambda: "\n".join(seen))


@contextmanager
def callable_failing(folder):
    (folder / "broken.py").write_text("def answer(text):\n    raise LookupError(text)\n")
    yield made("callable", folder, {"target": "broken.py:answer"})


@contextmanager
def replay_subject(folder):
    lines = (json.dumps({"id": sample.id, "output": f"recorded {sample.id}"}) for sample in SAMPLES)
    (folder / "recorded.jsonl").write_text("\n".join(lines) + "\n")
    provider = made("replay", folder, {"recorded": "recorded.jsonl"})
    yield Subject(provider, expected=lambda sample: f"recorded {sample.id}")


@contextmanager
def replay_failing(folder):
    (folder / "other.jsonl").write_text('{"id": "other", "output": "x"}\n')
    yield made("replay", folder, {"recorded": "other.jsonl"})


@contextmanager
def extractive_subject(folder):
    provider = made("extractive", folder, {})
    yield Subject(provider, expected=lambda sample: sample.contexts[0].partition(". ")[2])


SUBJECTS = {
    "callable": callable_subject,
    "extractive": extractive_subject,
    "openai": openai_subject,
    "replay": replay_subject,
}
# The extractive provider calls nothing that could fail: it answers or abstains.
FAILING = {"callable": callable_failing, "openai": openai_failing, "replay": replay_failing}


def made(name, folder, options):
    environ = {"OPENAI_API_KEY": SECRET, "TOKEN": SECRET + "-header"}
    return make_provider(name, ProviderSettings(VERSION, options, folder, environ))


def request_for(sample):
    return Request(sample, ({"role": "user", "content": sample.text},), timeout_s=10.0)


def together(provider, samples):
    async def everyone():
        try:
            return await asyncio.gather(*(provider.respond(request_for(sample)) for sample in samples))
        finally:
            await provider.aclose()

    return asyncio.run(everyone())


# The contract: each clause raises AssertionError for a provider that breaks it.


def answers_a_plain_sample(subject):
    assert isinstance(subject.provider, Provider)
    (response,) = together(subject.provider, SAMPLES[:1])
    assert isinstance(response, Response)
    assert response.fault is None
    assert response.output == subject.expected(SAMPLES[0])


def gives_each_of_many_its_own_answer(subject):
    responses = together(subject.provider, SAMPLES)
    assert [response.output for response in responses] == [subject.expected(sample) for sample in SAMPLES]


def describes_itself_as_json_without_secrets(subject):
    before = described(subject.provider)
    assert json.loads(before)["name"] == subject.provider.name
    assert SECRET not in before
    together(subject.provider, SAMPLES[:1])
    assert described(subject.provider) == before, "answering must not change what identifies a provider"


def described(provider):
    try:
        return canonical_json(dict(provider.describe()))
    except ValueError as error:
        raise AssertionError(f"describe() is no JSON: {error}") from error


def may_be_closed_twice(subject):
    async def close():
        await subject.provider.respond(request_for(SAMPLES[0]))
        await subject.provider.aclose()
        try:
            await subject.provider.aclose()
        except Exception as error:
            raise AssertionError(f"the second aclose() raised {error!r}") from error

    asyncio.run(close())


def never_sends_the_reference(subject):
    sample = SAMPLES[0]
    (with_reference,) = together(subject.provider, [sample])
    (without,) = together(subject.provider, [replace(sample, reference=None)])
    assert with_reference.output == without.output, "the reference decides the answer"
    assert REFERENCE not in (with_reference.output or "")
    assert REFERENCE not in subject.sent()


def fails_with_call_errors_only(provider):
    async def fail():
        try:
            await provider.respond(request_for(SAMPLES[0]))
        except CallError:
            return
        except Exception as error:
            raise AssertionError(f"raised {error!r}, expected a CallError") from error
        finally:
            await provider.aclose()
        raise AssertionError("answered, expected a CallError")

    asyncio.run(fail())


CLAUSES = (
    answers_a_plain_sample,
    gives_each_of_many_its_own_answer,
    describes_itself_as_json_without_secrets,
    may_be_closed_twice,
    never_sends_the_reference,
)


def test_every_built_in_provider_is_under_the_contract():
    assert set(SUBJECTS) == set(PROVIDERS.built_in)
    assert set(FAILING) == set(PROVIDERS.built_in) - {"extractive"}


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("name", SUBJECTS)
def test_provider_keeps_the_contract(name, clause, tmp_path):
    with SUBJECTS[name](tmp_path) as subject:
        assert subject.provider.name == name
        clause(subject)


@pytest.mark.parametrize("name", FAILING)
def test_provider_fails_with_call_errors_only(name, tmp_path):
    with FAILING[name](tmp_path) as provider:
        fails_with_call_errors_only(provider)


class Sound:
    """A provider that keeps every clause; the violators below break one each."""

    name = "sound"

    def __init__(self):
        self.sent = []

    def describe(self):
        return {"name": self.name}

    async def respond(self, request):
        await asyncio.sleep(0)
        self.sent.append(request.sample.text)
        return Response(output=request.sample.text)

    async def aclose(self):
        pass


class GivesText(Sound):
    async def respond(self, request):
        return request.sample.text


class GivesAFault(Sound):
    async def respond(self, request):
        return Response.from_dict({"fault": {"kind": "server", "message": "x"}})


class HasNoClose:
    name, __init__, describe, respond = Sound.name, Sound.__init__, Sound.describe, Sound.respond


class KeepsTheLastQuestion(Sound):
    async def respond(self, request):
        self.question = request.sample.text
        await asyncio.sleep(0)
        return Response(output=self.question)


class ShowsItsKey(Sound):
    def describe(self):
        return {"name": self.name, "headers": {"authorization": f"Bearer {SECRET}"}}


class DescribesWithAPath(Sound):
    def describe(self):
        return {"name": self.name, "folder": Path()}


class CountsInItsDescription(Sound):
    def describe(self):
        return {"name": self.name, "calls": len(self.sent)}


class DescribesAnother(Sound):
    def describe(self):
        return {"name": "another"}


class ClosesOnce(Sound):
    closed = False

    async def aclose(self):
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class SendsTheReference(Sound):
    async def respond(self, request):
        self.sent.append(f"{request.sample.text} {request.sample.reference}")
        return Response(output=request.sample.text)


class AnswersTheReference(Sound):
    async def respond(self, request):
        return Response(output="right" if request.sample.reference else "guess")


class RaisesItsOwnError(Sound):
    async def respond(self, request):
        raise ConnectionResetError("peer")


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_the_contract_accepts_a_sound_provider(clause):
    clause(subject_of(Sound()))


@pytest.mark.parametrize(
    ("violator", "clause"),
    [
        (GivesText, answers_a_plain_sample),
        (GivesAFault, answers_a_plain_sample),
        (HasNoClose, answers_a_plain_sample),
        (KeepsTheLastQuestion, gives_each_of_many_its_own_answer),
        (ShowsItsKey, describes_itself_as_json_without_secrets),
        (DescribesWithAPath, describes_itself_as_json_without_secrets),
        (CountsInItsDescription, describes_itself_as_json_without_secrets),
        (DescribesAnother, describes_itself_as_json_without_secrets),
        (ClosesOnce, may_be_closed_twice),
        (SendsTheReference, never_sends_the_reference),
        (AnswersTheReference, never_sends_the_reference),
    ],
)
def test_the_contract_rejects_a_violator(violator, clause):
    with pytest.raises(AssertionError):
        clause(subject_of(violator()))


@pytest.mark.parametrize("violator", [RaisesItsOwnError, Sound])
def test_the_contract_rejects_other_errors_and_answers_where_a_call_fails(violator):
    with pytest.raises(AssertionError):
        fails_with_call_errors_only(violator())


def subject_of(provider):
    return Subject(provider, expected=lambda sample: sample.text, sent=lambda: "\n".join(provider.sent))


@pytest.mark.parametrize("name", SUBJECTS)
def test_most_repeats_is_a_number_from_one_or_any_number(name, tmp_path):
    with SUBJECTS[name](tmp_path) as subject:
        most = most_repeats_of(subject.provider)
        assert most is None or (type(most) is int and most >= 1)
        assert (most is None) == (name in {"openai", "callable"})


def test_a_provider_that_says_nothing_of_repeats_can_give_any_number():
    class Silent:
        name = "silent"

        def describe(self):
            return {}

        async def respond(self, request):
            return Response(output="x")

        async def aclose(self):
            pass

    assert isinstance(Silent(), Provider)
    assert most_repeats_of(Silent()) is None
