"""Python functions as the system under test."""

import asyncio
import contextvars
import functools
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aigate.core.digest import sha256_text
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import CallError, ProviderConfigError
from aigate.providers.base import ProviderSettings, Request, make_provider
from aigate.providers.callable import CallableProvider

VERSION = VersionId("m", "1", "v1")
SAMPLE = Sample("a", "Can I?", reference="SENTINEL", contexts=("c",))


def asked(function, sample=SAMPLE, *, timeout_s=5.0, **options):
    async def once():
        provider = CallableProvider(function, **options)
        try:
            request = Request(sample, ({"role": "user", "content": "rendered"},), {"x": 1}, 2, timeout_s)
            return await provider.respond(request)
        finally:
            await provider.aclose()

    return asyncio.run(once())


def fault_of(function, **options):
    with pytest.raises(CallError) as caught:
        asked(function, **options)
    return caught.value


def made(target, folder, **options):
    return make_provider("callable", ProviderSettings(VERSION, {"target": target, **options}, Path(folder)))


class TestWhatIsPassed:
    def test_any_other_name_gets_the_input(self):
        assert asked(lambda question: question.upper()).output == "CAN I?"

    def test_a_chat_input_arrives_as_a_list_of_messages(self):
        given = []
        sample = Sample("a", ({"role": "user", "content": "hi"},))
        asked(lambda messages: given.append(messages) or "ok", sample)
        assert given == [[{"role": "user", "content": "hi"}]]

    def test_sample_gets_the_sample_without_its_reference(self):
        given = []
        asked(lambda sample: given.append(sample) or "ok")
        assert given == [Sample("a", "Can I?", contexts=("c",))]

    def test_request_gets_the_request_without_the_reference(self):
        given = []
        asked(lambda request: given.append(request) or "ok")
        (request,) = given
        assert (request.sample.reference, request.sample.id) == (None, "a")
        assert (request.messages[0]["content"], request.parameters, request.repeat) == ("rendered", {"x": 1}, 2)

    def test_optional_parameters_keep_their_defaults(self):
        assert (
            asked(lambda text, suffix="!", *rest, flag=True, **more: text + suffix + str(flag)).output == "Can I?!True"
        )

    @pytest.mark.parametrize(
        "function", [lambda: "x", lambda a, b: "x", lambda *a: "x", lambda a="x": a, lambda *, sample: "x"]
    )
    def test_none_or_several_required_parameters_are_refused_with_what_is_accepted(self, function):
        with pytest.raises(ProviderConfigError) as caught:
            CallableProvider(function)
        assert "expected exactly one" in caught.value.message
        assert "`sample` or `request`" in caught.value.hint

    def test_what_cannot_be_called_is_refused(self):
        with pytest.raises(ProviderConfigError, match="is dict, expected a callable"):
            CallableProvider({})


class TestHowItIsCalled:
    def test_async_functions_are_awaited(self):
        async def answer(text):
            await asyncio.sleep(0)
            return text + " yes"

        assert asked(answer).output == "Can I? yes"

    def test_objects_with_async_call_are_awaited_on_the_loop(self):
        class Bot:
            async def __call__(self, text):
                asyncio.get_running_loop()
                return threading.current_thread().name

        assert asked(Bot()).output == threading.current_thread().name

    def test_a_function_that_gives_a_coroutine_is_awaited(self):
        async def answer(text):
            return text + " later"

        assert asked(lambda text: answer(text)).output == "Can I? later"

    def test_partials_of_async_functions_are_awaited(self):
        async def answer(prefix, text):
            return prefix + text

        assert asked(functools.partial(answer, "> ")).output == "> Can I?"

    def test_methods_are_called_bound(self):
        assert asked(" I? or ".join).output == "C I? or a I? or n I? or   I? or I I? or ?"

    def test_sync_functions_run_beside_each_other(self):
        barrier = threading.Barrier(3)

        async def three():
            provider = CallableProvider(lambda text: str(barrier.wait(5)))
            try:
                requests = [Request(Sample(str(i), "x"), (), timeout_s=10) for i in range(3)]
                return await asyncio.gather(*(provider.respond(request) for request in requests))
            finally:
                await provider.aclose()

        assert sorted(response.output for response in asyncio.run(three())) == ["0", "1", "2"]

    def test_the_callers_context_variables_are_seen_in_the_thread(self):
        tenant = contextvars.ContextVar("tenant", default="none")

        async def once():
            tenant.set("acme")
            provider = CallableProvider(lambda text: tenant.get())
            try:
                return await provider.respond(Request(SAMPLE, ()))
            finally:
                await provider.aclose()

        assert asyncio.run(once()).output == "acme"

    def test_latency_is_measured(self):
        assert 0.05 <= asked(lambda text: time.sleep(0.05) or "x").latency_s < 5

    def test_it_answers_again_after_it_was_closed(self):
        async def twice():
            provider = CallableProvider(lambda text: text)
            first = await provider.respond(Request(SAMPLE, ()))
            await provider.aclose()
            second = await provider.respond(Request(SAMPLE, ()))
            await provider.aclose()
            return first.output, second.output

        assert asyncio.run(twice()) == ("Can I?", "Can I?")


class TestWhatIsReturned:
    def test_a_response_without_latency_gets_the_measured_one(self):
        response = asked(lambda text: Response(output="x", input_tokens=3))
        assert (response.output, response.input_tokens) == ("x", 3)
        assert response.latency_s is not None

    def test_a_response_with_latency_is_kept_as_it_is(self):
        given = Response(fault=Fault(FaultKind.SERVER, "x"), latency_s=9.0)
        assert asked(lambda text: given) is given

    @pytest.mark.parametrize(("value", "name"), [(None, "NoneType"), ({}, "dict"), (b"x", "bytes"), (1, "int")])
    def test_anything_else_is_the_candidates_fault_and_names_the_type(self, value, name):
        fault = fault_of(lambda text: value)
        assert fault.kind is FaultKind.CANDIDATE
        assert f"returned {name}, expected str" in fault.message


class TestWhatIsRaised:
    @pytest.mark.parametrize(
        "error", [KeyError("k"), StopIteration("s"), SystemExit("bye"), TimeoutError("slow upstream")]
    )
    def test_an_exception_is_the_candidates_fault_with_type_and_message(self, error):
        def sync(text):
            raise error

        fault = fault_of(sync)
        assert fault.kind is FaultKind.CANDIDATE
        assert type(error).__name__ in fault.message
        assert str(error.args[0]) in fault.message

    @pytest.mark.parametrize("error", [KeyError("k"), SystemExit("bye"), TimeoutError("slow upstream")])
    def test_an_exception_of_an_async_function_too(self, error):
        async def answer(text):
            raise error

        fault = fault_of(answer)
        assert fault.kind is FaultKind.CANDIDATE
        assert type(error).__name__ in fault.message

    def test_a_call_error_passes_as_it_is(self):
        given = CallError("slow down", kind=FaultKind.RATE_LIMIT, retry_after_s=3)

        def answer(text):
            raise given

        assert fault_of(answer) is given

    def test_keyboard_interrupt_passes(self):
        async def answer(text):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            asked(answer)

    def test_cancelling_the_caller_cancels_the_call(self):
        cancelled = []

        async def answer(text):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        async def cancel():
            task = asyncio.create_task(CallableProvider(answer).respond(Request(SAMPLE, ())))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert cancelled == [True]


class TestDeadline:
    def test_an_async_function_is_cancelled(self):
        cancelled = []

        async def answer(text):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        assert fault_of(answer, timeout_s=0.05).kind is FaultKind.TIMEOUT
        assert cancelled == [True]

    def test_a_function_that_swallows_its_cancellation_is_late_all_the_same(self):
        async def answer(text):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                return "too late"

        assert fault_of(answer, timeout_s=0.05).kind is FaultKind.TIMEOUT

    def test_a_function_that_raises_when_cancelled_is_late_and_not_broken(self):
        async def answer(text):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                raise ValueError("cleanup") from None

        assert fault_of(answer, timeout_s=0.05).kind is FaultKind.TIMEOUT

    def test_an_async_function_that_blocks_the_loop_is_late(self):
        async def answer(text):
            time.sleep(0.1)
            return "x"

        assert fault_of(answer, timeout_s=0.05).kind is FaultKind.TIMEOUT

    def test_a_thread_is_left_behind_without_starving_later_calls(self):
        release = threading.Event()

        async def two():
            provider = CallableProvider(lambda text: "x" if text == "quick" else str(release.wait(30)))
            try:
                with pytest.raises(CallError) as caught:
                    await provider.respond(Request(Sample("a", "slow"), (), timeout_s=0.05))
                return caught.value.kind, await provider.respond(Request(Sample("b", "quick"), (), timeout_s=5))
            finally:
                release.set()
                await provider.aclose()

        kind, quick = asyncio.run(two())
        assert (kind, quick.output) == (FaultKind.TIMEOUT, "x")


class TestTargets:
    def test_a_file_relative_to_the_suite(self, tmp_path):
        (tmp_path / "bot.py").write_text("def answer(text):\n    return text.lower()\n")
        provider = made("bot.py:answer", tmp_path)
        assert asyncio.run(provider.respond(Request(SAMPLE, ()))).output == "can i?"
        asyncio.run(provider.aclose())

    def test_a_file_relative_to_the_current_directory(self, tmp_path, monkeypatch):
        (tmp_path / "bot.py").write_text("async def answer(text):\n    return 'here'\n")
        monkeypatch.chdir(tmp_path)
        assert asyncio.run(made("bot.py:answer", tmp_path / "none").respond(Request(SAMPLE, ()))).output == "here"

    def test_a_file_may_import_its_neighbours(self, tmp_path):
        (tmp_path / "aigate_test_neighbour.py").write_text("WORD = 'near'\n")
        (tmp_path / "bot.py").write_text(
            "from aigate_test_neighbour import WORD\nasync def answer(text):\n    return WORD\n"
        )
        before = list(sys.path)
        try:
            assert asyncio.run(made("bot.py:answer", tmp_path).respond(Request(SAMPLE, ()))).output == "near"
        finally:
            sys.modules.pop("aigate_test_neighbour", None)
        assert sys.path == before

    def test_a_module_and_a_dotted_attribute(self, tmp_path, monkeypatch):
        (tmp_path / "aigate_test_app.py").write_text(
            "class Bot:\n    async def __call__(self, text):\n        return 'app'\n    async def ask(self, text):\n"
            "        return 'ask'\nclass holder:\n    bot = Bot()\n"
        )
        try:
            provider = made("aigate_test_app:holder.bot.ask", tmp_path)
            assert asyncio.run(provider.respond(Request(SAMPLE, ()))).output == "ask"
        finally:
            sys.modules.pop("aigate_test_app", None)

    def test_two_files_of_one_name_do_not_meet_and_no_byte_code_is_left(self, tmp_path):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "bot.py").write_text(f"async def answer(text):\n    return {name!r}\n")
        providers = [made("bot.py:answer", tmp_path / name) for name in ("one", "two")]
        assert [asyncio.run(p.respond(Request(SAMPLE, ()))).output for p in providers] == ["one", "two"]
        assert not list(tmp_path.rglob("__pycache__"))

    def test_the_digest_is_that_of_the_source_that_runs(self, tmp_path):
        path = tmp_path / "bot.py"
        path.write_text("async def answer(text):\n    return '1'\n")
        first = made("bot.py:answer", tmp_path)
        path.write_text("async def answer(text):\n    return '2'\n")
        second = made("bot.py:answer", tmp_path)
        assert first.describe()["source_digest"] == sha256_text("async def answer(text):\n    return '1'\n")
        assert second.describe()["source_digest"] == sha256_text("async def answer(text):\n    return '2'\n")
        assert asyncio.run(second.respond(Request(SAMPLE, ()))).output == "2"

    def test_the_digest_is_that_of_the_target_even_where_the_function_comes_from_elsewhere(self, tmp_path):
        (tmp_path / "bot.py").write_text("from textwrap import dedent as answer\n")
        described = made("bot.py:answer", tmp_path).describe()
        assert described["source_digest"] == sha256_text("from textwrap import dedent as answer\n")

    def test_description_of_a_target_names_it_as_written(self, tmp_path):
        (tmp_path / "bot.py").write_text("def answer(text):\n    return ''\n")
        described = made("bot.py:answer", tmp_path).describe()
        assert described["target"] == "bot.py:answer"
        assert str(tmp_path) not in str(described)

    def test_description_of_a_python_object_names_module_and_source(self):
        described = CallableProvider(local).describe()
        assert described["target"].endswith(":local")
        assert described["source_digest"] == sha256_text(Path(__file__).read_text())

    def test_what_has_no_source_has_no_digest(self):
        assert CallableProvider(str.upper).describe()["source_digest"] is None

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("def answer(:\n", "SyntaxError"),
            ("import no_such_module_here\n", "ModuleNotFoundError: No module named 'no_such_module_here'"),
            ("raise RuntimeError('no database')\n", "RuntimeError: no database"),
            ("raise SystemExit(3)\n", "SystemExit: 3"),
        ],
    )
    def test_a_file_that_cannot_be_imported_says_why(self, tmp_path, text, says):
        (tmp_path / "bot.py").write_text(text)
        known = set(sys.modules)
        with pytest.raises(ProviderConfigError) as caught:
            made("bot.py:answer", tmp_path)
        assert "cannot import 'bot.py'" in caught.value.message
        assert says in caught.value.message
        assert not [name for name in set(sys.modules) - known if name.startswith("aigate_target_")]

    def test_a_module_that_cannot_be_imported_is_named(self, tmp_path):
        with pytest.raises(ProviderConfigError, match="cannot import 'no_such_app': ModuleNotFoundError"):
            made("no_such_app:answer", tmp_path)

    def test_a_missing_function_names_the_nearest(self, tmp_path):
        (tmp_path / "bot.py").write_text("def answer(text):\n    return ''\n")
        with pytest.raises(ProviderConfigError) as caught:
            made("bot.py:anwser", tmp_path)
        assert caught.value.hint == "did you mean 'answer'?"

    @pytest.mark.parametrize("target", [None, 3, "", "bot.py", ":answer", "bot.py:", "missing.py:answer"])
    def test_a_target_that_is_none_is_refused(self, tmp_path, target):
        with pytest.raises(ProviderConfigError):
            make_provider("callable", ProviderSettings(VERSION, {} if target is None else {"target": target}, tmp_path))

    def test_unknown_options_are_refused(self, tmp_path):
        with pytest.raises(ProviderConfigError, match="unknown option 'tagret'"):
            make_provider("callable", ProviderSettings(VERSION, {"tagret": "a:b"}, tmp_path))


def local(text):
    return text


def test_a_callable_that_hangs_does_not_keep_the_process_from_ending(tmp_path):
    (tmp_path / "script.py").write_text(
        "import asyncio, time\n"
        "from aigate.core.sample import Sample\n"
        "from aigate.errors import CallError\n"
        "from aigate.providers.base import Request\n"
        "from aigate.providers.callable import CallableProvider\n"
        "async def main():\n"
        "    try:\n"
        "        request = Request(Sample('a', 'x'), (), timeout_s=0.1)\n"
        "        await CallableProvider(lambda text: time.sleep(60)).respond(request)\n"
        "    except CallError as error:\n"
        "        print(error.kind)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "timeout"
