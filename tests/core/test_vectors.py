"""Vectors as text, and what no cosine can be taken of."""

import math
import struct

import pytest

from aigate.core.vectors import cosine, packed, refuse_unsound, unpacked, vectors_in, vectors_text


def test_vectors_come_back_from_their_text():
    vectors = [(1.0, -0.5), (0.25, 3.0)]
    assert vectors_in(vectors_text(vectors), count=2) == tuple(vectors)
    assert unpacked(packed([0.1])) == struct.unpack("<f", struct.pack("<f", 0.1))


UNSOUND = {
    "one too few": ([(1.0,)], 2, None),
    "one too many": ([(1.0,)] * 3, 2, None),
    "empty": ([()], 1, None),
    "of different lengths": ([(1.0, 2.0), (1.0,)], 2, None),
    "not as long as was asked for": ([(1.0, 2.0)], 1, 3),
    "nan": ([(1.0, math.nan)], 1, None),
    "infinite": ([(math.inf, 1.0)], 1, None),
    "zeros": ([(0.0, -0.0)], 1, None),
}


@pytest.mark.parametrize(("vectors", "count", "dimensions"), UNSOUND.values(), ids=UNSOUND)
def test_unsound_vectors_are_refused(vectors, count, dimensions):
    with pytest.raises(ValueError, match="vector"):
        refuse_unsound(vectors, count=count, dimensions=dimensions)
    with pytest.raises(ValueError, match="vector"):
        vectors_in(vectors_text(vectors), count=count, dimensions=dimensions)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[[1.0]]", '["*"]', '["AAA="]', '["AACAPw"'])
def test_what_is_no_text_of_vectors_is_refused(text):
    with pytest.raises(ValueError, match=r"vector|base64"):
        vectors_in(text, count=1)


def test_a_cosine_of_huge_and_tiny_numbers_is_right():
    assert cosine((1e200, 1e200), (1e-200, 0.0)) == pytest.approx(math.sqrt(0.5))
    assert cosine((0.1,) * 3, (0.1,) * 3) == pytest.approx(1.0)
