"""Models that score on this machine: found on disk, never fetched, known by what their files hold.

A model is a folder, or the name of one that was downloaded into the Hugging Face cache before; what is on neither place
is an error that says how to get it, so that no run depends on a network or on what a name stands for that day. Code
that a model brings along is never run. The digest of the files stands in the run: other weights under the same name are
another scorer.

Models run in one thread of their own, one call at a time, so that answers are asked for meanwhile: there is no worker
process in a live run that would load them once more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from aigate.core.digest import digest_of
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import ScoreOrNot, Unscored
from aigate.errors import ConfigError, MissingExtraError, ScoringError
from aigate.scorers.asked import LONGEST_ANSWER
from aigate.scorers.base import ScorerSettings
from aigate.scorers.options import text_option, word_option
from aigate.scorers.reading import output_of

__all__ = [
    "DEVICES",
    "OPTIONS",
    "LocalScorer",
    "Weights",
    "device_of",
    "json_of",
    "need_packages",
    "on_model_thread",
    "quietly_loading",
    "readable",
    "refuse_long",
    "weights_of",
]

EXTRA = "local"
OPTIONS = ("model", "revision", "digest", "device")
DEVICES = ("auto", "cpu", "cuda", "mps")
CONFIG = "config.json"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Weights:
    """A model on this machine.

    Attributes:
        model: As the suite names it.
        revision: The revision that the suite names; None where it names none.
        folder: Where its files are.
        digest: Of all its files; as the suite says it, or as it was found.
        device: `auto` (a GPU where there is one), or where to run.
    """

    model: str
    revision: str | None
    folder: Path
    digest: str
    device: str

    @property
    def options(self) -> Mapping[str, Any]:
        """What stands in the metric's spec; not the device, on which what a model says does not depend."""
        return {"model": self.model, "revision": self.revision, "digest": self.digest}

    def verify(self) -> None:
        """Make sure that the files are those of the digest; read once, unless one changes: gigabytes take seconds.

        Raises:
            ConfigError: They are not.
        """
        if (found := _digest(self.folder)) != self.digest:
            raise ConfigError(
                f"the files of model '{self.model}' have the digest {found}, expected {self.digest}",
                hint="get the model that was meant, or change 'digest' in the suite file: it is another scorer then",
            )


def need_packages(*packages: str, purpose: str) -> None:
    """Make sure that packages are installed, without importing them.

    Raises:
        MissingExtraError: One is not.
    """
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError(package, extra=EXTRA, purpose=purpose)


def weights_of(settings: ScorerSettings) -> Weights:
    """The model that a scorer's options name: `model` (needed), `revision`, `digest`, `device`.

    A digest that is given is taken at its word, and verified before the model is used: who reads a stored run need not
    read the model.

    Raises:
        ConfigError: No such model on this machine.
    """
    model, revision = text_option(settings, "model"), text_option(settings, "revision")
    if model is None or not model.strip():
        raise ConfigError(
            f"scorer '{settings.name}' has no model, expected a folder, or a name in the Hugging Face cache",
            hint=f'{{ scorer = "{settings.name}", model = "models/nli" }}',
        )
    device = word_option(settings, "device", DEVICES, default=DEVICES[0]) or DEVICES[0]
    folder = _folder(settings, model, revision)
    return Weights(model, revision, folder, text_option(settings, "digest") or _digest(folder), device)


def json_of(folder: Path, name: str = CONFIG) -> Mapping[str, Any]:
    """What a JSON file of a model says; empty where there is none."""
    try:
        found = json.loads((folder / name).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def device_of(weights: Weights) -> str:
    """Where a model runs: what the suite names, or a GPU where there is one."""
    if weights.device != DEVICES[0]:
        return weights.device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def quietly_loading(model: str) -> Iterator[None]:
    """Load a model, or save one, without a word on the terminal.

    Raises:
        ScoringError: It cannot be loaded.
    """
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:
        raise ScoringError(f"model '{model}' cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


class LocalScorer:
    """What scorers by a model on this machine share: the model is the one that was meant, and it runs in its thread."""

    weights: Weights

    def ready(self) -> None:
        """Make sure that the model is the one whose digest stands in the spec.

        Raises:
            ConfigError: It is another one.
        """
        self.weights.verify()

    def score(self, sample: Sample, response: Response) -> Awaitable[ScoreOrNot]:
        """Judge, in the thread of models.

        Raises:
            ScoringError: The response has a fault.
        """
        return self._score(sample, output_of(response))

    async def _score(self, sample: Sample, output: str) -> ScoreOrNot:
        try:
            return await self.judged(sample, output)
        except ScoringError as error:
            return Unscored("judge_error", error.message)

    async def judged(self, sample: Sample, output: str) -> ScoreOrNot:
        """The score of an output.

        Raises:
            ScoringError: It, or what it is held against, is more than the model reads, or the model cannot be used.
        """
        raise NotImplementedError


def refuse_long(output: str) -> None:
    """Refuse an answer that is longer than any that is judged.

    Raises:
        ScoringError: It is.
    """
    if len(output) > LONGEST_ANSWER:
        raise ScoringError(f"the answer has {len(output)} characters, at most {LONGEST_ANSWER} are read")


def readable(text: str) -> str:
    """The text with `?` for each lone surrogate, which no tokenizer reads."""
    return text.encode("utf-8", "replace").decode("utf-8")


def on_model_thread(work: Callable[[], T]) -> Awaitable[T]:
    """Have something done in the thread of models."""
    return asyncio.get_running_loop().run_in_executor(_pool(), work)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="aigate-model")


def _folder(settings: ScorerSettings, model: str, revision: str | None) -> Path:
    near = settings.folder / model
    found = near if near.is_dir() else _in_cache(model, revision)
    if found is None or not (found / CONFIG).is_file():
        pinned = "" if revision is None else f" --revision {revision}"
        raise ConfigError(
            f"scorer '{settings.name}': model '{model}' is not on this machine: no folder {near} with a {CONFIG}, and"
            " no such model in the Hugging Face cache",
            hint=f"nothing is fetched during a run: fetch it before (hf download {model}{pinned}), or name its folder",
        )
    return found


def _in_cache(model: str, revision: str | None) -> Path | None:
    """The model's folder in the Hugging Face cache; None where it is not there. Asks no network."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (OSError, ValueError):  # not there; no name of a model
        return None


def _digest(folder: Path) -> str:
    """The digest of a model's files; what is hidden or written for people does not count."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _counts(path.relative_to(folder))]
    stats = ((path, path.stat()) for path in files)
    return _digest_of(folder, tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats))


def _counts(path: Path) -> bool:
    return path.suffix != ".md" and not any(part.startswith(".") for part in path.parts)


@lru_cache(maxsize=16)
def _digest_of(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    found = {}
    for path, _size, _at in files:
        with path.open("rb") as file:
            found[path.relative_to(folder).as_posix()] = file_digest(file, "sha256").hexdigest()
    return digest_of(found)
