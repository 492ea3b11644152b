"""Canonical JSON and digests: the same content has the same bytes, on every machine.

Canonical here means: UTF-8, keys sorted by code point, no insignificant space, no NaN or infinity, and numbers in
Python's shortest round-trip form. `1` and `1.0` are different content: a golden that holds an integer holds an integer.
It is close to RFC 8785 (JCS) but does not fold `1.0` into `1`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

__all__ = [
    "RAW_BYTES",
    "canonical_json",
    "canonical_texts",
    "combined_digest",
    "combined_raw_digest",
    "digest_of",
    "json_line",
    "raw_digest",
    "seed_from",
    "sha256_text",
    "sorted_raw_digests",
]

PREFIX = "sha256:"
RAW_BYTES = 32
MANY = 4_096  # digests: from here on it is worth to load NumPy, and they are written down in such blocks


def canonical_json(value: Any) -> str:
    """The one JSON text of a value.

    Args:
        value: Dicts with string keys, lists, tuples, strings, finite numbers, booleans, None.

    Returns:
        The text, without a trailing newline.

    Raises:
        ValueError: NaN or an infinity stands somewhere in it (the message says where), or a key is not a string.

    >>> canonical_json({"b": 1, "a": [1.0, "é"]})
    '{"a":[1.0,"é"],"b":1}'
    """
    return _dump(value, sort_keys=True)


def canonical_texts(row: Mapping[str, Any]) -> bytes:
    """The UTF-8 of `canonical_json` of an object without numbers, which needs no look at each value.

    Where it holds a `reference` or `metadata` there may be numbers: these are looked at.
    """
    import orjson

    if not isinstance(row.get("reference", ""), str) or "metadata" in row:
        return canonical_json(row).encode()
    try:
        return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a lone surrogate
        return canonical_json(row).encode()


def json_line(value: Any) -> str:
    """JSON for a line of a file: as `canonical_json`, but keys stay in the order a reader expects."""
    return _dump(value, sort_keys=False)


def sha256_text(text: str) -> str:
    """The digest of a text, as `sha256:` and 64 hexadecimal digits.

    Lone surrogates (broken Unicode in a model's answer) are kept apart from every valid text.
    """
    return PREFIX + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of(value: Any) -> str:
    """The digest of a value's canonical JSON."""
    return sha256_text(canonical_json(value))


def raw_digest(digest: str) -> bytes:
    """The 32 bytes of a digest as `sha256_text` gives it."""
    return bytes.fromhex(digest[len(PREFIX) :])


def combined_digest(parts: Iterable[str]) -> str:
    """One digest for a bag of digests, whatever order they come in."""
    return sha256_text("\n".join(sorted(parts)))


def sorted_raw_digests(digests: bytes | bytearray) -> bytes:
    """Many digests of 32 bytes each, in ascending order."""
    if len(digests) < MANY * RAW_BYTES:
        return b"".join(sorted(bytes(digests[at : at + RAW_BYTES]) for at in range(0, len(digests), RAW_BYTES)))
    import numpy as np

    return np.sort(np.frombuffer(digests, dtype=f"S{RAW_BYTES}")).tobytes()


def combined_raw_digest(digests: bytes, first: Sequence[str] = ()) -> str:
    """`combined_digest` of many digests that are sorted already.

    Args:
        digests: 32 bytes each, ascending.
        first: Further parts, all of which sort before "sha256:".

    >>> parts = [sha256_text("a"), sha256_text("b")]
    >>> raw = b"".join(map(raw_digest, parts))
    >>> combined_raw_digest(sorted_raw_digests(raw), ["a:"]) == combined_digest(["a:", *parts])
    True
    """
    whole = hashlib.sha256("\n".join(sorted(first)).encode())
    begun = bool(first)
    for at in range(0, len(digests), MANY * RAW_BYTES):
        told = digests[at : at + MANY * RAW_BYTES].hex("\n", RAW_BYTES).replace("\n", f"\n{PREFIX}")
        whole.update(f"{chr(10) if begun else ''}{PREFIX}{told}".encode())
        begun = True
    return PREFIX + whole.hexdigest()


def seed_from(*parts: str) -> int:
    """A seed for a random generator, from content: the same content always draws the same numbers.

    Returns:
        An integer in [0, 2**64).
    """
    whole = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(whole[:8], "big")


_SORTED, _AS_GIVEN = (
    json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=sort_keys, separators=(",", ":"))
    for sort_keys in (True, False)
)


def _dump(value: Any, *, sort_keys: bool) -> str:
    """By orjson where it is known to write what Python's encoder does; else by that one, and checked."""
    import orjson

    with suppress(TypeError):  # an integer beyond 64 bits, a lone surrogate, 254 levels or a value within itself
        written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort_keys else None)
        if _is_plain(value):
            return written.decode("utf-8")
    return _dump_checked(value, sort_keys=sort_keys)


def _is_plain(value: Any) -> bool:
    """True for nothing but JSON's own types, text keys, and numbers that have one usual spelling.

    Asked of all that is written, so without recursion and fast. A float beyond these bounds is written with an exponent
    by one of the two encoders.
    """
    rest = [value]
    for item in rest:  # which grows
        kind = type(item)
        if kind in _PLAIN:
            continue
        if kind is dict:
            for key in item:
                if type(key) is not str:
                    return False
            rest += item.values()
        elif kind is float:
            if not 1e-4 <= abs(item) < 1e15 and item != 0.0:
                return False
        elif kind is list or kind is tuple:
            rest += item
        else:
            return False
    return True


def _dump_checked(value: Any, *, sort_keys: bool) -> str:
    try:
        text = (_SORTED if sort_keys else _AS_GIVEN).encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(_first_defect(value) or _first_key_defect(value) or str(error)) from None
    # The encoder turns integer and None keys into strings without a word; that would give two values one digest.
    if not _has_text_keys(value):
        raise ValueError(_first_key_defect(value))
    # A lone surrogate cannot be written as UTF-8: escape those texts whole.
    return text if _encodable(text) else json.dumps(value, allow_nan=False, sort_keys=sort_keys, separators=(",", ":"))


def _has_text_keys(value: Any) -> bool:
    """True when every key in it is a string."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            for key in item:
                if type(key) is not str and not isinstance(key, str):
                    return False
            rest += item.values()
        elif isinstance(item, list | tuple):
            rest += item
    return True


_PLAIN = frozenset({str, int, bool, type(None)})


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _first_key_defect(value: Any, path: str = "$") -> str:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                return f"{path}: key {key!r} is not a string"
            if found := _first_key_defect(item, f"{path}.{key}"):
                return found
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if found := _first_key_defect(item, f"{path}[{index}]"):
                return found
    return ""


def _first_defect(value: Any, path: str = "$") -> str:
    """The path of the first thing JSON cannot hold, in words; empty when there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path}: {value!r} is not a JSON number"
    if isinstance(value, Mapping):
        return next((found for key, item in value.items() if (found := _first_defect(item, f"{path}.{key}"))), "")
    if isinstance(value, list | tuple):
        return next((found for i, item in enumerate(value) if (found := _first_defect(item, f"{path}[{i}]"))), "")
    if value is None or isinstance(value, bool | int | float | str):
        return ""
    return f"{path}: {type(value).__name__} is not JSON"
