"""`ReplayProvider`: recorded answers of any system, gated without calling anything.

A recording is JSON Lines, `.gz` allowed, one answer a line. Only `id` and one of `output` and `error` are required::

    {"id": "refund-014", "repeat": 0, "output": "Yes, within 30 days.", "latency_s": 0.81, "scores": {"human": 1.0}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from aigate.core.digest import combined_digest, digest_of
from aigate.core.json_text import json_type
from aigate.core.registry import nearest, refuse_unknown
from aigate.core.response import Fault, FaultKind, Response
from aigate.errors import CallError, ProviderConfigError, SuiteError
from aigate.goldens.jsonlines import read_json_lines
from aigate.providers.base import ProviderSettings, Request

__all__ = ["Recording", "ReplayProvider", "from_settings", "load_recorded"]

ADAPTER_VERSION = 1
LARGEST_AMOUNT = 1e300  # what is larger, an integer of a thousand digits say, would overflow as a float
FIELDS = (
    "id",
    "repeat",
    "output",
    "error",
    "latency_s",
    "ttft_s",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "finish_reason",
    "served_model",
    "fingerprint",
    "refusal",
    "scores",
)


@dataclass(frozen=True, slots=True)
class Recording:
    """The answers of one recorded file.

    Attributes:
        answers: Responses by sample id and repeat; a recorded error is a response with a fault.
        path: Where they were read from.
        digest: Digest of the answers; gzip, key order and the order of numbered lines do not change it.
    """

    answers: Mapping[tuple[str, int], Response]
    path: Path
    digest: str

    def extra_ids(self, sample_ids: Iterable[str]) -> tuple[str, ...]:
        """The ids answered here that are none of `sample_ids`, in file order, each once."""
        wanted = set(sample_ids)
        return tuple(dict.fromkeys(found for found, _ in self.answers if found not in wanted))

    def repeats_from(self, offset: int) -> int:
        """How many repeats, from one on, it holds of every sample that it answers at all; 0 or more."""
        ids = {sample_id for sample_id, _ in self.answers}
        held = takewhile(lambda repeat: all((id_, repeat) in self.answers for id_ in ids), count(offset))
        return sum(1 for _ in held)


class ReplayProvider:
    """Answers from a recording; the recorded latency is kept as it is.

    Args:
        recording: What was recorded.
        repeat_offset: Repeat `r` is answered by recorded repeat `r + repeat_offset`, so that repeats 1 to 3 of one
            recording can be gated against its repeat 0. Default: the first repeat that the recording holds of any
            sample, so that a file of repeats 1 to 3 alone needs no option.
    """

    name = "replay"

    def __init__(self, recording: Recording, *, repeat_offset: int | None = None) -> None:
        if repeat_offset is not None and repeat_offset < 0:
            raise ProviderConfigError(f"provider 'replay': repeat-offset is {repeat_offset}, expected 0 or more")
        self.recording = recording
        first = min((repeat for _, repeat in recording.answers), default=0)
        self.repeat_offset = first if repeat_offset is None else repeat_offset

    offline = True
    local = True

    @property
    def most_repeats(self) -> int:
        """The repeats that are recorded of every sample; at least 1, so that what is missing is found by asking."""
        return max(1, self.recording.repeats_from(self.repeat_offset))

    def describe(self) -> Mapping[str, Any]:
        """Name, adapter version, file name, digest of the answers, repeat offset."""
        return {
            "name": self.name,
            "adapter": ADAPTER_VERSION,
            "recorded": self.recording.path.name,
            "digest": self.recording.digest,
            "repeat_offset": self.repeat_offset,
        }

    async def respond(self, request: Request) -> Response:
        """The recorded answer to this sample and repeat.

        Raises:
            CallError: MISSING, when the recording holds none.
        """
        repeat = request.repeat + self.repeat_offset
        found = self.recording.answers.get((request.sample.id, repeat))
        if found is None:
            raise _missing(self.recording, request.sample.id, repeat)
        return found

    async def aclose(self) -> None:
        """Nothing is held open."""


def from_settings(settings: ProviderSettings) -> ReplayProvider:
    """Make the provider from the options `recorded` (a path) and `repeat-offset` (0 or more).

    A relative path is looked for in the suite's folder, then in the current directory.

    Raises:
        ProviderConfigError: No `recorded`, no such file, or another option.
        SuiteError: A line of the recording is wrong; the message starts with file:line.
    """
    settings.only("replay", "recorded", "repeat-offset")
    given = settings.options.get("recorded")
    if not isinstance(given, str | Path) or not str(given):
        found = "no recording was given" if given is None else f"recorded is {given!r}, expected a path"
        raise ProviderConfigError(f"provider 'replay': {found}", hint="--recorded FILE")
    offset = settings.options.get("repeat-offset")
    if offset is not None and (isinstance(offset, bool) or not isinstance(offset, int) or offset < 0):
        raise ProviderConfigError(f"provider 'replay': repeat-offset is {offset!r}, expected a whole number from 0")
    return ReplayProvider(load_recorded(_existing(Path(given), settings.folder)), repeat_offset=offset)


def load_recorded(path: Path) -> Recording:
    """Read recorded responses strictly.

    Lines of one id that carry no `repeat` are repeats 0, 1, 2, ... in order of appearance.

    Raises:
        SuiteError: The file cannot be read, is empty, or a line is wrong: an unknown field, a wrong type, neither or
            both of output and error, an (id, repeat) that another line holds already. A score outside [0, 1] may stand
            in a recording; a scorer that reads it says so.
    """
    answers: dict[tuple[str, int], Response] = {}
    lines: dict[tuple[str, int], int] = {}
    unnumbered: dict[str, int] = {}
    for line, row in read_json_lines(path, error=SuiteError):
        where = f"{path}:{line}"
        key = _key_of(row, where=where, unnumbered=unnumbered)
        if key in lines:
            raise _duplicate(key, where=where, first=lines[key])
        lines[key] = line
        answers[key] = _response_of(row, where=where)
    if not answers:
        raise SuiteError(f"{path}: holds no answers", hint="write one JSON object a line, with id and output")
    return Recording(answers, path, combined_digest(_answer_digests(answers)))


def _answer_digests(answers: Mapping[tuple[str, int], Response]) -> Iterable[str]:
    return (digest_of([sample_id, repeat, found.to_dict()]) for (sample_id, repeat), found in answers.items())


def _key_of(row: Mapping[str, Any], *, where: str, unnumbered: dict[str, int]) -> tuple[str, int]:
    refuse_unknown(row, FIELDS, where=where, kind="fields", error=SuiteError)
    sample_id = row.get("id")
    if not isinstance(sample_id, str) or not sample_id:
        got = "nothing" if "id" not in row else "an empty string" if sample_id == "" else json_type(sample_id)
        raise SuiteError(f"{where}: field 'id': expected a non-empty string, got {got}")
    repeat = _whole_number(row, "repeat", where=where)
    if repeat is None:
        repeat = unnumbered.get(sample_id, 0)
        unnumbered[sample_id] = repeat + 1
    return sample_id, repeat


def _response_of(row: Mapping[str, Any], *, where: str) -> Response:
    output, fault = _text(row, "output", where=where), _fault_of(row.get("error"), where=where)
    if output is None and fault is None:
        raise SuiteError(f"{where}: neither output nor error", hint="write the answer's text, or why there is none")
    if output is not None and fault is not None:
        raise SuiteError(f"{where}: both output and error", hint="write null for the one that does not hold")
    return Response(
        output=output,
        fault=fault,
        latency_s=_amount(row, "latency_s", where=where),
        ttft_s=_amount(row, "ttft_s", where=where),
        input_tokens=_whole_number(row, "input_tokens", where=where),
        output_tokens=_whole_number(row, "output_tokens", where=where),
        cost_usd=_amount(row, "cost_usd", where=where),
        finish_reason=_text(row, "finish_reason", where=where),
        served_model=_text(row, "served_model", where=where),
        fingerprint=_text(row, "fingerprint", where=where),
        refusal=_field(row, "refusal", lambda v: isinstance(v, bool), "true or false", where=where) or False,
        scores=_scores_of(row, where=where),
    )


def _fault_of(error: Any, *, where: str) -> Fault | None:
    if error is None:
        return None
    if isinstance(error, str):
        if not error.strip():
            raise SuiteError(f"{where}: field 'error' is empty", hint="write null where there was no error")
        return Fault(FaultKind.CANDIDATE, error)
    if not isinstance(error, Mapping):
        raise _wrong("error", "null, a string or an object with kind and message", error, where=where)
    refuse_unknown(error, ("kind", "message"), where=f"{where}: field 'error'", kind="fields", error=SuiteError)
    kinds = [str(kind) for kind in FaultKind]
    kind = error.get("kind")
    if kind not in kinds:
        hint = nearest(str(kind), kinds, kind="kinds")
        raise SuiteError(f"{where}: field 'error.kind': unknown kind {kind!r}", hint=hint)
    if not isinstance(error.get("message"), str):
        raise _wrong("error.message", "a string", error.get("message"), where=where)
    return Fault(FaultKind(kind), error["message"])


def _scores_of(row: Mapping[str, Any], *, where: str) -> dict[str, float]:
    scores = _field(row, "scores", lambda found: isinstance(found, Mapping), "an object", where=where) or {}
    for name, value in scores.items():
        if isinstance(value, bool):
            hint = f"write {float(value)} for {str(value).lower()}"
            raise SuiteError(f"{where}: score '{name}': expected a number, got {str(value).lower()}", hint=hint)
        if not isinstance(value, int | float):
            raise SuiteError(
                f"{where}: score '{name}': expected a number, got {json_type(value)}",
                hint="leave a score out where there is none",
            )
        if not abs(value) < LARGEST_AMOUNT:
            raise SuiteError(f"{where}: score '{name}' is {value!r}, expected a finite number")
    return {name: float(value) for name, value in scores.items()}


def _amount(row: Mapping[str, Any], name: str, *, where: str) -> float | None:
    found = _field(row, name, _is_amount, "a finite number, 0 or more", where=where)
    return None if found is None else float(found)


def _is_amount(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < LARGEST_AMOUNT


def _whole_number(row: Mapping[str, Any], name: str, *, where: str) -> int | None:
    found: int | None = _field(row, name, _is_whole, "a whole number, 0 or more", where=where)
    return found


def _is_whole(found: Any) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and found >= 0


def _text(row: Mapping[str, Any], name: str, *, where: str) -> str | None:
    found: str | None = _field(row, name, lambda value: isinstance(value, str), "a string", where=where)
    return found


def _field(row: Mapping[str, Any], name: str, fits: Callable[[Any], bool], expected: str, *, where: str) -> Any:
    """The value of a field, None where it is null or left out."""
    found = row.get(name)
    if found is None or fits(found):
        return found
    raise _wrong(name, expected, found, where=where)


def _wrong(name: str, expected: str, found: Any, *, where: str) -> SuiteError:
    got = repr(found) if isinstance(found, int | float) and not isinstance(found, bool) else json_type(found)
    return SuiteError(f"{where}: field '{name}': expected {expected}, got {got}")


def _duplicate(key: tuple[str, int], *, where: str, first: int) -> SuiteError:
    return SuiteError(
        f"{where}: duplicate answer for id '{key[0]}', repeat {key[1]} (first on line {first})",
        hint="number the answers to one sample with `repeat`: 0, 1, 2, ...",
    )


def _missing(recording: Recording, sample_id: str, repeat: int) -> CallError:
    held = len({recorded for _, recorded in recording.answers})
    return CallError(
        f"{recording.path.name}: no recorded answer for id '{sample_id}', repeat {repeat}"
        f" (it holds {held} repeat{'' if held == 1 else 's'})",
        kind=FaultKind.MISSING,
        hint=f"record it, or ask for no more repeats than there are: --repeats {held}",
    )


def _existing(given: Path, folder: Path) -> Path:
    for found in (folder / given, given):
        if found.is_file():
            return found
    raise ProviderConfigError(
        f"provider 'replay': no file {given} (looked in {folder} and the current directory)", hint="--recorded FILE"
    )
