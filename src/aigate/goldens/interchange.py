"""Samples from and to other people's formats, without retyping a single value on the way.

JSON, JSON Lines and CSV are read by our own code: `datasets` turns columns of ISO dates into timestamps and integers
beside a null into floats. Parquet is read with `pyarrow`, hub names and saved datasets with `datasets`.
"""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aigate.core.counts import count_of
from aigate.core.digest import digest_of, json_line
from aigate.core.json_text import JsonDefectError, json_type, strict_json
from aigate.core.registry import nearest
from aigate.core.sample import Sample
from aigate.errors import MissingExtraError, SuiteError, UsageError
from aigate.goldens.jsonlines import read_json_lines
from aigate.goldens.samples import row_defects

if TYPE_CHECKING:
    import datasets
    import pandas as pd

__all__ = [
    "Imported",
    "from_datasets",
    "from_frame",
    "import_samples",
    "source_rows",
    "table_rows",
    "to_datasets",
    "to_frame",
]

KNOWN_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id",),
    "input": ("question", "input", "prompt", "query", "user_input"),
    "reference": ("answer", "reference", "target", "expected", "expected_output", "ground_truth"),
    "contexts": ("contexts", "context", "retrieved_contexts"),
    "tags": ("tags",),
    "group": ("group",),
}
"""Names that other tools use for our fields, in the order in which they are looked for."""

ID_DIGITS = 12
NOT_DATA = ("dataset_info.json", "state.json", "dataset_dict.json")  # what `save_to_disk` writes beside its data
RETYPED = (".json", ".jsonl", ".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import gave.

    Attributes:
        samples: The samples, in the source's order.
        mapping: The source's field for each of our fields that has one, whether named or guessed.
        ignored_fields: Fields left out because they hold no JSON (bytes, images). All others are in `metadata`.
    """

    samples: tuple[Sample, ...]
    mapping: Mapping[str, str]
    ignored_fields: tuple[str, ...] = ()


def import_samples(
    source: str,
    *,
    id_field: str | None = None,
    input_field: str | None = None,
    reference_field: str | None = None,
    contexts_field: str | None = None,
    tags_field: str | None = None,
    group_field: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
) -> Imported:
    """Read samples from a file, a folder or the Hugging Face hub.

    Args:
        source: A `.jsonl` (or `.jsonl.gz`), `.json`, `.csv`, `.tsv` or `.parquet` file; a folder that `datasets` can
            load; or a hub name, `owner/name` or `owner/name:configuration`.
        id_field: The source's field for the id. Without one, ids are made from input and contexts, so that they stay
            the same when rows are added, removed or sorted.
        input_field: Its field for the input. Fields not named here are guessed from well-known names; "" means none.
        reference_field: Its field for the reference.
        contexts_field: Its field for the contexts: a text, or a list of texts.
        tags_field: Its field for the tags: a list of texts, or texts separated by commas.
        group_field: Its field for the group.
        split: Split of a hub dataset or folder; needed when it has several.
        revision: Revision of a hub dataset.
        limit: Read only the first so many rows.

    Returns:
        The samples, how fields were mapped, and what was left out. Fields that map to nothing are in `metadata`. In
        CSV every value is a string and an empty cell of a mapped field is a missing one; in Parquet and hub data
        timestamps become ISO 8601 texts and NaN becomes null.

    Raises:
        SuiteError: A row cannot be a sample, or two rows have the same id; names the row.
        UsageError: The source cannot be reached, has no field for the input, or an argument does not fit it.
        MissingExtraError: Parquet, folders and hub names need the extra `datasets`.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit: got {limit}, expected at least 1")
    rows = list(islice(_rows(source, split=split, revision=revision), limit))
    if not rows:
        raise SuiteError(f"{source}: no rows")
    fields = list(dict.fromkeys(name for row in rows for name in row.values))
    named = {
        "id": id_field,
        "input": input_field,
        "reference": reference_field,
        "contexts": contexts_field,
        "tags": tags_field,
        "group": group_field,
    }
    mapping = _mapping(source, fields, named)
    samples = tuple(_sample(row, mapping) for row in rows)
    _refuse_duplicates(rows, samples, made="id" not in mapping)
    return Imported(samples, mapping, tuple(dict.fromkeys(name for row in rows for name in row.ignored)))


def source_rows(source: str, *, split: str | None = None, revision: str | None = None) -> Iterator[Mapping[str, Any]]:
    """The rows of a source as plain JSON, as they stand there.

    Raises:
        SuiteError, UsageError, MissingExtraError: As `import_samples`.
    """
    return (row.values for row in _rows(source, split=split, revision=revision))


def to_datasets(samples: Iterable[Sample]) -> datasets.Dataset:
    """The samples as a `datasets.Dataset`, one row each; `from_datasets` gives equal samples back.

    Columns are texts and lists of texts, so that nothing can be retyped: `id`, `input` (of a chat input null, and
    `messages` its JSON), `reference` (of one that is no text null, and `reference_json` its JSON), `contexts`, `tags`,
    `group`, `metadata` (JSON of an object).

    Raises:
        MissingExtraError: `datasets` is not installed.
        SuiteError: A text holds half a surrogate pair, which Arrow cannot store.
    """
    hub = _datasets("export to datasets")
    text = hub.Value("string")
    kinds = {name: hub.Sequence(text) if name in {"contexts", "tags"} else text for name in COLUMNS}
    rows = [_flat(sample) for sample in samples]
    try:
        columns = {name: [row[name] for row in rows] for name in COLUMNS}
        return hub.Dataset.from_dict(columns, features=hub.Features(kinds))
    except UnicodeEncodeError as found:
        raise SuiteError(f"a sample holds text that is no valid Unicode: {found.reason}") from None


def from_datasets(dataset: datasets.Dataset) -> tuple[Sample, ...]:
    """The inverse of `to_datasets`.

    Raises:
        UsageError: The dataset was not made by `to_datasets`.
        SuiteError: A row is no sample any more; names the row.
    """
    _refuse_other_columns(dataset.column_names, COLUMNS, hint="use import_samples for other datasets")
    return tuple(_checked(_unflat(row, f"row {number}"), f"row {number}") for number, row in enumerate(dataset))


def to_frame(samples: Iterable[Sample]) -> pd.DataFrame:
    """The samples as a `pandas.DataFrame`, one row each; `from_frame` gives equal samples back.

    Columns are the fields of a sample, of dtype object: values are Python's own, missing ones None.

    Raises:
        MissingExtraError: `pandas` is not installed.
    """
    pandas = _pandas("a DataFrame of samples")
    rows = [_field_row(sample) for sample in samples]
    columns = {name: pandas.Series([row[name] for row in rows], dtype=object) for name in FRAME_COLUMNS}
    frame: pd.DataFrame = pandas.DataFrame(columns)
    return frame


def from_frame(frame: pd.DataFrame) -> tuple[Sample, ...]:
    """The inverse of `to_frame`; a NaN that pandas put in place of None is read as None.

    Raises:
        UsageError: The frame does not have the columns of `to_frame`.
        SuiteError: A row is no sample any more; names its index.
    """
    _refuse_other_columns([str(name) for name in frame.columns], FRAME_COLUMNS, hint="see to_frame for the columns")
    rows = zip(frame.index, frame.to_dict("records"), strict=True)
    return tuple(_checked(_without_missing(row), f"row {index}") for index, row in rows)


def table_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each row of a file stands, and its values: JSON Lines, JSON, CSV (texts) or Parquet.

    Raises:
        SuiteError: No such file, or one that cannot be read.
        UsageError: A file of another kind.
    """
    if not path.is_file():
        raise SuiteError(f"{path}: no such file", hint="check the path; it is relative to the current directory")
    for row in _rows(str(path), split=None, revision=None):
        yield row.place, row.values


COLUMNS = ("id", "input", "messages", "reference", "reference_json", "contexts", "tags", "group", "metadata")
FRAME_COLUMNS = ("id", "input", "reference", "contexts", "tags", "group", "metadata")


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a source: where it stands, its values as JSON, and its fields that are none."""

    place: str
    values: Mapping[str, Any]
    ignored: tuple[str, ...] = field(default=())
    all_text: bool = False


def _rows(source: str, *, split: str | None, revision: str | None) -> Iterator[_Row]:
    path = Path(source)
    name = path.name.removesuffix(".gz") if path.name.endswith(".jsonl.gz") else path.name
    suffix = Path(name).suffix.lower()
    if path.is_dir():
        return _folder_rows(path, split=split, revision=revision)
    if suffix not in _FILE_READERS:
        if path.is_file():
            known = ", ".join(_FILE_READERS)
            raise UsageError(f"{source}: got a '{suffix}' file, expected one of {known}")
        return _hub_rows(source, split=split, revision=revision)
    for option, value in (("split", split), ("revision", revision)):
        if value is not None:
            raise UsageError(f"{option}: got {value!r}, but '{source}' is a file", hint=f"leave {option} out")
    if not path.is_file():
        raise SuiteError(f"{path}: no such file", hint="check the path; it is relative to the current directory")
    return _FILE_READERS[suffix](path)


def _json_lines_rows(path: Path) -> Iterator[_Row]:
    for line, row in read_json_lines(path):
        yield _Row(f"{path}:{line}", row)


def _json_rows(path: Path) -> Iterator[_Row]:
    try:
        whole = strict_json(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as found:
        raise SuiteError(f"{path}: not UTF-8: byte {found.start + 1}", hint="save the file as UTF-8") from None
    except JsonDefectError as found:
        raise SuiteError(f"{path}:{found.line or 1}: {found.message}", hint=found.hint) from None
    if not isinstance(whole, list):
        raise SuiteError(f"{path}: got {json_type(whole)}, expected an array of objects")
    for number, row in enumerate(whole):
        if not isinstance(row, dict):
            raise SuiteError(f"{path}: row {number}: got {json_type(row)}, expected an object")
        yield _Row(f"{path}: row {number}", row)


def _csv_rows(path: Path) -> Iterator[_Row]:
    """Rows of a CSV file (tabs in .tsv); values are the cells' texts, never guessed at."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            yield from _csv_objects(path, lines, lambda: lines.line_num)
    except csv.Error as found:
        raise SuiteError(f"{path}:{lines.line_num}: invalid CSV: {found}") from None
    except UnicodeDecodeError as found:
        raise SuiteError(f"{path}: not UTF-8: {found.reason}", hint="save the file as UTF-8") from None


def _csv_objects(path: Path, lines: Iterator[list[str]], line_number: Callable[[], int]) -> Iterator[_Row]:
    header = next(lines, [])
    for index, name in enumerate(header):
        if not name.strip() or name in header[:index]:
            raise SuiteError(f"{path}:1: column {index + 1}: got {name!r}, expected a name of its own")
    start = line_number() + 1
    for cells in lines:
        if cells and len(cells) != len(header):
            raise SuiteError(
                f"{path}:{start}: got {count_of(len(cells), 'cell')}, expected {len(header)} as in the header"
            )
        if cells:
            yield _Row(f"{path}:{start}", dict(zip(header, cells, strict=True)), all_text=True)
        start = line_number() + 1


def _parquet_rows(path: Path) -> Iterator[_Row]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("pyarrow", extra="datasets", purpose="reading Parquet") from None
    try:
        table = parquet.ParquetFile(path).read()
    except (ArrowException, OSError) as found:
        raise SuiteError(f"{path}: cannot be read as Parquet: {found}") from None
    for number, row in enumerate(table.to_pylist()):
        yield _plain_row(f"{path}: row {number}", row)


def _folder_rows(path: Path, *, split: str | None, revision: str | None) -> Iterator[_Row]:
    if revision is not None:
        raise UsageError(f"revision: got {revision!r}, but '{path}' is a folder", hint="leave revision out")
    hub = _datasets("import from a folder")
    if any((path / name).is_file() for name in NOT_DATA):
        yield from _split_rows(str(path), hub.load_from_disk(str(path)), split)
        return
    texts = sorted(f for f in path.rglob("*") if f.suffix in RETYPED)
    if texts:
        message = f"{path}: holds {texts[0].relative_to(path)}, whose values datasets would retype"
        raise UsageError(message, hint=f"name the file itself: {texts[0]}")
    # A cache of its own: the shared one goes by path and time stamps, and may hold an older content.
    with tempfile.TemporaryDirectory() as cache:
        found = _loaded(str(path), lambda: hub.load_dataset(str(path), cache_dir=cache))
        yield from list(_split_rows(str(path), found, split))


def _hub_rows(source: str, *, split: str | None, revision: str | None) -> Iterator[_Row]:
    name, _, configuration = source.partition(":")
    hub = _datasets("import from the Hugging Face hub")
    found = _loaded(source, lambda: hub.load_dataset(name, configuration or None, revision=revision))
    yield from _split_rows(source, found, split)


def _loaded(source: str, load: Callable[[], Any]) -> Any:
    from datasets.exceptions import DatasetsError

    try:
        return load()
    except ConnectionError as found:
        message = f"dataset '{source}': the hub cannot be reached: {_first_line(found)}"
        raise UsageError(message, hint="unset HF_HUB_OFFLINE, check the network, or name a local file") from None
    except FileNotFoundError as found:
        message = f"dataset '{source}': not found: {_first_line(found)}"
        raise UsageError(message, hint="name a file that exists, or a hub dataset as owner/name") from None
    except (DatasetsError, OSError, RuntimeError, ValueError) as found:
        hint = "name a configuration as owner/name:configuration, if that is what is missing"
        raise UsageError(f"dataset '{source}': cannot be loaded: {_first_line(found)}", hint=hint) from None


def _first_line(found: BaseException) -> str:
    return (str(found).strip() or type(found).__name__).splitlines()[0]


def _split_rows(source: str, found: Any, split: str | None) -> Iterator[_Row]:
    """The rows of one split. Any mapping is a `DatasetDict`; anything else is a dataset without splits."""
    if isinstance(found, Mapping):
        if split is None and len(found) != 1:
            raise UsageError(f"{source}: has the splits {', '.join(found)}", hint="name one of them as split")
        if split is not None and split not in found:
            hint = nearest(split, list(found), kind="splits")
            raise UsageError(f"{source}: has no split '{split}'", hint=hint)
        found = found[split if split is not None else next(iter(found))]
    elif split is not None:
        raise UsageError(f"{source}: has no splits, but split is {split!r}", hint="leave split out")
    # `with_format("arrow")` hands out the stored values: no images are decoded, no arrays are made.
    stored = found.with_format("arrow")[:].to_pylist() if len(found) else []
    for number, row in enumerate(stored):
        yield _plain_row(f"{source}: row {number}", row)


def _plain_row(place: str, row: Mapping[str, Any]) -> _Row:
    """A row of Arrow values as JSON; fields that hold no JSON are set aside."""
    values: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in row.items():
        try:
            values[name] = _plain(value)
        except TypeError:
            ignored.append(name)
        except ValueError as found:
            raise SuiteError(f"{place}: {name}: {found}") from None
    return _Row(place, values, tuple(ignored))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return _number_or_null(value)
    if isinstance(value, date | time):  # datetime and pandas' Timestamp are dates
        return value.isoformat()
    if isinstance(value, timedelta | Decimal | UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(type(value).__name__)


def _number_or_null(value: float) -> float | None:
    if math.isinf(value):
        raise ValueError(f"got {value}, expected a finite number")
    return None if math.isnan(value) else value


def _mapping(source: str, fields: Sequence[str], named: Mapping[str, str | None]) -> dict[str, str]:
    """The source's field for each of ours: the one named, else the first well-known one that is there and is free."""
    mapping = {ours: theirs for ours, theirs in named.items() if theirs}
    for ours, theirs in mapping.items():
        if theirs not in fields:
            hint = nearest(theirs, fields, kind="fields")
            raise UsageError(f"{source}: no field '{theirs}' for {ours}", hint=hint)
    for ours, known in KNOWN_NAMES.items():
        free = [name for name in known if name in fields and name not in mapping.values()]
        if named[ours] is None and free:
            mapping[ours] = free[0]
    if "input" not in mapping:
        message = f"{source}: no field for the input among {', '.join(fields)}"
        raise UsageError(message, hint="name it as input_field (--input-field)")
    return {ours: mapping[ours] for ours in KNOWN_NAMES if ours in mapping}


def _sample(row: _Row, mapping: Mapping[str, str]) -> Sample:
    fields = {ours: row.values.get(theirs) for ours, theirs in mapping.items()}
    if row.all_text:
        fields = {ours: text if text != "" or ours == "input" else None for ours, text in fields.items()}
    whole: dict[str, Any] = {"input": fields["input"], "reference": fields.get("reference")}
    whole["contexts"] = _contexts(fields.get("contexts"), all_text=row.all_text)
    whole["tags"] = _tags(fields.get("tags"))
    whole["group"] = _name(fields.get("group"))
    whole["metadata"] = _metadata(row, set(mapping.values()))
    whole["id"] = _name(fields.get("id")) if fields.get("id") is not None else _made_id(row.place, whole)
    return _checked(whole, row.place)


def _contexts(given: Any, *, all_text: bool) -> Any:
    """Contexts as a list; a single text is one context, and in CSV a JSON array of texts is what it says."""
    if given is None:
        return []
    if not isinstance(given, str):
        return given
    if all_text and given.lstrip().startswith("["):
        try:
            listed = strict_json(given)
        except JsonDefectError:
            return [given]
        return listed if isinstance(listed, list) and all(isinstance(text, str) for text in listed) else [given]
    return [given]


def _tags(given: Any) -> Any:
    if isinstance(given, str):
        return [tag for part in given.split(",") if (tag := part.strip())]
    return [] if given is None else given


def _name(given: Any) -> Any:
    """An id or group: whole numbers are written as text, which is exact."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _metadata(row: _Row, mapped: set[str]) -> dict[str, Any]:
    """What is mapped to nothing. A field `metadata` that is an object is taken as what it says."""
    rest = {name: value for name, value in row.values.items() if name not in mapped}
    if not isinstance(rest.get("metadata"), dict):
        return rest
    inner = rest.pop("metadata")
    if both := next((name for name in inner if name in rest), None):
        raise SuiteError(f"{row.place}: '{both}' is a field of the row and of its metadata", hint="rename one of them")
    return {**inner, **rest}


def _made_id(place: str, whole: Mapping[str, Any]) -> str:
    """An id from what is asked: it survives a corrected reference, other rows and another order."""
    try:
        digest = digest_of([whole["input"], whole["contexts"]])
    except ValueError as found:
        raise SuiteError(f"{place}: {found}") from None
    return digest.removeprefix("sha256:")[:ID_DIGITS]


def _checked(whole: dict[str, Any], place: str) -> Sample:
    if defects := row_defects(whole):
        message, hint = defects[0]
        raise SuiteError(f"{place}: {message}", hint=hint)
    return Sample.from_dict(whole)


def _refuse_duplicates(rows: Sequence[_Row], samples: Sequence[Sample], *, made: bool) -> None:
    first: dict[str, str] = {}
    for row, sample in zip(rows, samples, strict=True):
        if (earlier := first.setdefault(sample.id, row.place)) != row.place:
            what = "the same input and contexts" if made else f"duplicate id '{sample.id}'"
            hint = "remove one of them, or name a field that tells them apart as id_field (--id-field)"
            raise SuiteError(f"{row.place}: {what} (first at {earlier})", hint=hint)


def _flat(sample: Sample) -> dict[str, Any]:
    """A sample as texts and lists of texts."""
    row = _field_row(sample)
    chat, reference = row["input"], row["reference"]
    return {
        **row,
        "input": chat if isinstance(chat, str) else None,
        "messages": None if isinstance(chat, str) else json_line(chat),
        "reference": reference if isinstance(reference, str) else None,
        "reference_json": None if reference is None or isinstance(reference, str) else json_line(reference),
        "metadata": json_line(row["metadata"]),
    }


def _unflat(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    try:
        parsed = {
            name: None if row[name] is None else strict_json(row[name])
            for name in ("messages", "reference_json", "metadata")
        }
    except JsonDefectError as found:
        raise SuiteError(f"{place}: {found.message}") from None
    return {
        "id": row["id"],
        "input": row["input"] if parsed["messages"] is None else parsed["messages"],
        "reference": row["reference"] if parsed["reference_json"] is None else parsed["reference_json"],
        "contexts": row["contexts"] or [],
        "tags": row["tags"] or [],
        "group": row["group"],
        "metadata": parsed["metadata"] or {},
    }


def _field_row(sample: Sample) -> dict[str, Any]:
    empty: dict[str, Any] = {"reference": None, "contexts": [], "tags": [], "group": None, "metadata": {}}
    return {**empty, **sample.to_dict()}


def _without_missing(row: Mapping[Any, Any]) -> dict[str, Any]:
    given = {
        str(name): None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()
    }
    return {name: value for name, value in given.items() if value is not None}


def _refuse_other_columns(got: Sequence[str], expected: Sequence[str], *, hint: str) -> None:
    if sorted(got) != sorted(expected):
        raise UsageError(f"got the columns {', '.join(got)}, expected {', '.join(expected)}", hint=hint)


def _datasets(purpose: str) -> Any:
    try:
        import datasets as hub
    except ImportError:
        raise MissingExtraError("datasets", extra="datasets", purpose=purpose) from None
    return hub


def _pandas(purpose: str) -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("pandas", extra="pandas", purpose=purpose) from None
    return pd


_FILE_READERS: Mapping[str, Callable[[Path], Iterator[_Row]]] = {
    ".jsonl": _json_lines_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".parquet": _parquet_rows,
}
