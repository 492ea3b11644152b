"""`CallableProvider`: the system under test is a Python function, sync or async.

What it is given is decided by the name of its one required parameter: `sample` gets the Sample, `request` the Request,
any other name the input (a text, or the list of messages of a chat input). The reference answer is taken out first, so
that no function can look it up.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal

from aigate.core.counts import count_of
from aigate.core.digest import sha256_text
from aigate.core.registry import nearest
from aigate.core.response import FaultKind, Response
from aigate.errors import CallError, ProviderConfigError
from aigate.providers.base import ProviderSettings, Request

__all__ = ["CallableProvider", "from_settings", "importable_target"]

ADAPTER_VERSION = 1
ACCEPTED = "write a function of one argument: the input, or a parameter named `sample` or `request`"

Wanted = Literal["input", "sample", "request"]


class CallableProvider:
    """Answers with a Python callable.

    A sync callable runs in a daemon thread of its own, with the caller's context variables; an async one runs on the
    event loop. A thread cannot be killed: a sync callable that outlives its deadline is reported as a timeout and left
    running until the process ends, which does not wait for it.

    Args:
        function: Takes one argument (see the module), gives a str or a Response, or an awaitable of one.
        name: The provider's name.
        target: How it is named in run files; `module:qualname` when left out.
        source_digest: Digest of the source it was loaded from; found from the function when left out.
        clock: Seconds that only grow.

    Raises:
        ProviderConfigError: Not callable, or it takes none or several required arguments.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str = "callable",
        *,
        target: str | None = None,
        source_digest: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._name = name
        self._function = function
        self._target = target or _target_of(function)
        self._wanted = _wanted_by(function, target=self._target)
        self._source_digest = source_digest or _source_digest(function)
        self._clock = clock

    @property
    def name(self) -> str:
        """The name it is chosen by."""
        return self._name

    def describe(self) -> Mapping[str, Any]:
        """Name, adapter version, target, and the digest of the target's source file (None where there is no file)."""
        return {
            "name": self._name,
            "adapter": ADAPTER_VERSION,
            "target": self._target,
            "source_digest": self._source_digest,
        }

    async def respond(self, request: Request) -> Response:
        """Call the function once.

        Raises:
            CallError: CANDIDATE when it raises or gives something else than a str or a Response; TIMEOUT when it gives
                nothing in time; a CallError that the function itself raises, as it is.
        """
        argument = _argument(request, wanted=self._wanted)
        started = self._clock()
        given = await self._given_in_time(argument, timeout_s=request.timeout_s)
        latency_s = self._clock() - started
        if latency_s > request.timeout_s:  # a callable that held the event loop, or swallowed its cancellation
            raise self._too_late(request.timeout_s)
        return _response_of(given, latency_s=latency_s, target=self._target)

    async def aclose(self) -> None:
        """Nothing is held open; calls that still run are not waited for."""

    async def _given_in_time(self, argument: Any, *, timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                try:
                    return await self._given(argument)
                except CallError:
                    raise
                # A candidate may raise anything, and may call sys.exit(); both are its fault, not the gate's.
                except (Exception, SystemExit) as error:
                    if deadline.expired():
                        raise self._too_late(timeout_s) from error
                    raise _raised(error, target=self._target) from error
        except TimeoutError:
            raise self._too_late(timeout_s) from None

    async def _given(self, argument: Any) -> Any:
        if _is_async(self._function):
            return await self._function(argument)
        context = contextvars.copy_context()
        call = partial(context.run, _outcome, self._function, argument)
        outcome = await _in_a_thread(call)
        if outcome.error is not None:
            raise outcome.error
        return await outcome.value if inspect.isawaitable(outcome.value) else outcome.value

    def _too_late(self, timeout_s: float) -> CallError:
        return CallError(f"{self._target}: no answer within {timeout_s:g} s", kind=FaultKind.TIMEOUT)


def from_settings(settings: ProviderSettings) -> CallableProvider:
    """Make the provider from the option `target`: `module:function` or `path/file.py:function`.

    A path is looked for in the suite's folder, then in the current directory; modules are importable from both too.

    Raises:
        ProviderConfigError: No target, a target that cannot be imported, or a function that does not fit.
    """
    settings.only("callable", "target")
    target = settings.options.get("target")
    if not isinstance(target, str) or not all(target.rpartition(":")):
        found = "no target was given" if target is None else f"target is {target!r}"
        raise ProviderConfigError(
            f"provider 'callable': {found}, expected 'module:function' or 'path/file.py:function'",
            hint='provider-options = { target = "app.bot:answer" }',
        )
    place, _, attribute = target.rpartition(":")
    module, digest = _load(place, folder=settings.folder)
    function = _attribute(module, attribute, target=target)
    return CallableProvider(function, target=target, source_digest=digest)


def importable_target(function: Callable[..., Any]) -> str | None:
    """The `module:qualname` that another process finds this very function under; None where it finds none.

    That is so of a lambda, of a function within a function, of a method of an object, and of what stands in the script
    that was started or was typed into a notebook.
    """
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    found: Any = module
    for name in getattr(function, "__qualname__", "<unnamed>").split("."):
        found = getattr(found, name, None)
    if module is None or module.__name__ in {"__main__", "__mp_main__"} or found is not function:
        return None
    return f"{module.__name__}:{function.__qualname__}"


def _wanted_by(function: Any, *, target: str) -> Wanted:
    if not callable(function):
        raise ProviderConfigError(
            f"provider 'callable': {target} is {type(function).__name__}, expected a callable", hint=ACCEPTED
        )
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions tell nothing about themselves
        return "input"
    optional = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    required = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty and parameter.kind not in optional
    ]
    if len(required) != 1 or required[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise ProviderConfigError(
            f"provider 'callable': {target}{signature} has {count_of(len(required), 'required parameter')}, "
            "expected exactly one that can be given by position",
            hint=ACCEPTED,
        )
    name = required[0].name
    return "sample" if name == "sample" else "request" if name == "request" else "input"


def _argument(request: Request, *, wanted: Wanted) -> Any:
    sample = replace(request.sample, reference=None)
    if wanted == "sample":
        return sample
    if wanted == "request":
        return replace(request, sample=sample)
    return sample.input if isinstance(sample.input, str) else [dict(message) for message in sample.input]


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    error: BaseException | None = None


async def _in_a_thread(call: Callable[[], _Outcome]) -> _Outcome:
    """Run a call in a daemon thread: one that hangs neither takes another's place nor keeps the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Outcome] = loop.create_future()

    def deliver(outcome: _Outcome) -> None:
        if not future.done():
            future.set_result(outcome)

    def work() -> None:
        outcome = call()
        with suppress(RuntimeError):  # the run was over before the call was
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=work, name="aigate-callable", daemon=True).start()
    return await future


def _outcome(function: Callable[[Any], Any], argument: Any) -> _Outcome:
    """Call in a thread. Errors come back as values: a StopIteration set on a future would leave it pending for ever."""
    try:
        return _Outcome(function(argument))
    except BaseException as error:  # noqa: BLE001 - raised again on the event loop
        return _Outcome(error=error)


def _response_of(given: Any, *, latency_s: float, target: str) -> Response:
    if isinstance(given, Response):
        return given if given.latency_s is not None else replace(given, latency_s=latency_s)
    if isinstance(given, str):
        return Response(output=str(given), latency_s=latency_s)
    raise CallError(
        f"{target} returned {type(given).__name__}, expected str or aigate's Response",
        kind=FaultKind.CANDIDATE,
        hint="return the answer's text; turn an object into JSON text yourself",
    )


def _raised(error: BaseException, *, target: str) -> CallError:
    said = str(error)
    text = f"{target} raised {type(error).__name__}" + (f": {said}" if said else "")
    return CallError(text, kind=FaultKind.CANDIDATE)


def _target_of(function: Any) -> str:
    named = inspect.unwrap(function) if callable(function) else function
    if isinstance(named, partial):
        named = named.func
    named = named if hasattr(named, "__qualname__") else type(named)
    return f"{getattr(named, '__module__', None) or 'builtins'}:{named.__qualname__}"


def _source_digest(function: Any) -> str | None:
    named = inspect.unwrap(function)
    if isinstance(named, partial):
        named = named.func
    try:
        path = inspect.getsourcefile(named if hasattr(named, "__code__") or inspect.isclass(named) else type(named))
        return None if path is None else sha256_text(Path(path).read_text(encoding="utf-8"))
    except (TypeError, OSError, UnicodeDecodeError):  # built in, typed into a prompt, or the file is gone
        return None


def _load(place: str, *, folder: Path) -> tuple[ModuleType, str | None]:
    """The module, and the digest of its source where it was loaded from a path."""
    path = _path_of(place, folder=folder)
    with _importable_from(folder if path is None else path.parent, Path.cwd()):
        try:
            return (import_module(place), None) if path is None else _module_at(path)
        # Importing runs the user's code, which may raise anything and may call sys.exit().
        except (Exception, SystemExit) as error:
            raise ProviderConfigError(
                f"provider 'callable': cannot import '{place}': {type(error).__name__}: {error}",
                hint=f"try: python -c 'import {place}'" if path is None else f"try: python {place}",
            ) from error


def _path_of(place: str, *, folder: Path) -> Path | None:
    if not place.endswith(".py"):
        return None
    for found in (folder / place, Path(place)):
        if found.is_file():
            return found.resolve()
    raise ProviderConfigError(
        f"provider 'callable': no file {place} (looked in {folder} and the current directory)",
        hint="write the path relative to the suite's folder",
    )


def _module_at(path: Path) -> tuple[ModuleType, str]:
    # The name must not shadow an installed module, and two files of one name must not meet.
    name = f"aigate_target_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    loader = _SourceLoader(name, str(path))
    spec = spec_from_loader(name, loader)
    if spec is None:
        raise ImportError(f"no module can be made from {path.name}")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module, loader.source_digest


class _SourceLoader(SourceFileLoader):
    """Compiles the very bytes it takes the digest of: byte code in a cache may be older, and litters the suite."""

    source_digest: str = ""

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002 - the signature of the import system
        source = self.get_data(self.path)
        self.source_digest = sha256_text(source.decode("utf-8"))
        code: CodeType = self.source_to_code(source, self.path)
        return code


@contextmanager
def _importable_from(*folders: Path) -> Iterator[None]:
    added = [str(folder.resolve()) for folder in folders]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


def _attribute(module: ModuleType, attribute: str, *, target: str) -> Any:
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            public = [known for known in dir(found) if not known.startswith("_") and callable(getattr(found, known))]
            hint = nearest(name, public, kind="callables")
            raise ProviderConfigError(f"provider 'callable': {target}: no '{name}' there", hint=hint)
        found = getattr(found, name)
    return found
