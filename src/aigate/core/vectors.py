"""Embeddings: texts as vectors. How they are kept as text, when they are sound, and how alike two of them are."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from typing import Any

from aigate.core.json_text import JsonDefectError, strict_json

__all__ = ["EMBEDDINGS", "Vector", "cosine", "packed", "refuse_unsound", "unpacked", "vectors_in", "vectors_text"]

Vector = tuple[float, ...]
FLOAT_BYTES = 4
EMBEDDINGS = "embeddings"  # the API of a provider that makes texts into vectors


def packed(vector: Sequence[float]) -> str:
    """A vector as base64 of little-endian 32-bit floats: what OpenAI's API calls the encoding format `base64`.

    >>> packed([1.0, 0.0])
    'AACAPwAAAAA='
    """
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def unpacked(text: str) -> Vector:
    """The inverse of `packed`, to 32-bit precision.

    Raises:
        ValueError: It is no base64, or no whole number of floats.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a vector is no base64: {error}") from None
    if len(raw) % FLOAT_BYTES:
        raise ValueError(f"a vector has {len(raw)} bytes, which is no whole number of 32-bit floats")
    return struct.unpack(f"<{len(raw) // FLOAT_BYTES}f", raw)


def vectors_text(vectors: Sequence[Sequence[float]]) -> str:
    """Vectors as the output of a response: a JSON array of base64."""
    return "[" + ",".join(f'"{packed(vector)}"' for vector in vectors) + "]"


def vectors_in(output: str, *, count: int, dimensions: int | None = None) -> tuple[Vector, ...]:
    """The inverse of `vectors_text`.

    Args:
        output: The output of a response.
        count: How many there must be.
        dimensions: How long each must be; None: one as long as the other.

    Raises:
        ValueError: It is something else, or a vector is unsound.
    """
    try:
        found: Any = strict_json(output)
    except JsonDefectError as error:
        raise ValueError(f"expected a JSON array of vectors: {error}") from None
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError("expected a JSON array of vectors in base64")
    vectors = tuple(unpacked(text) for text in found)
    refuse_unsound(vectors, count=count, dimensions=dimensions)
    return vectors


def refuse_unsound(vectors: Sequence[Sequence[float]], *, count: int, dimensions: int | None = None) -> None:
    """Refuse vectors that no cosine can be taken of.

    Raises:
        ValueError: Too few or too many, an empty one, lengths that differ or are not the one that was asked for,
            numbers that are not finite, or nothing but zeros.
    """
    if len(vectors) != count:
        raise ValueError(f"got {len(vectors)} vectors for {count} texts")
    length = dimensions or (len(vectors[0]) if vectors else 0)
    for place, vector in enumerate(vectors):
        if not vector:
            raise ValueError(f"vector {place} is empty")
        if len(vector) != length:
            raise ValueError(f"vector {place} has {len(vector)} numbers, expected {length}")
        if not all(map(math.isfinite, vector)):
            raise ValueError(f"vector {place} holds a number that is not finite")
        if not any(vector):
            raise ValueError(f"vector {place} holds nothing but zeros: it has no direction")


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors, in [-1, 1].

    Args:
        one: Sound: finite, not all zeros.
        other: Likewise, as long as the first.

    >>> cosine((1.0, 0.0), (3.0, 0.0)), cosine((1.0, 0.0), (0.0, 2.0)), cosine((1.0, 0.0), (-1.0, 0.0))
    (1.0, 0.0, -1.0)
    """
    # Each by its largest number first: the squares of very small and very large ones are out of a float's range.
    scaled = [[number / max(map(abs, vector)) for number in vector] for vector in (one, other)]
    product = math.fsum(a * b for a, b in zip(*scaled, strict=True))
    norms = [math.sqrt(math.fsum(number * number for number in vector)) for vector in scaled]
    return max(-1.0, min(1.0, product / (norms[0] * norms[1])))
