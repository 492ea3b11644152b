import gzip

import pytest

from aigate.errors import ProviderConfigError, SuiteError
from aigate.goldens.jsonlines import Defect, read_json_lines, scan_json_lines


def write(tmp_path, content, name="rows.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_lines_are_numbered_from_one(tmp_path):
    path = write(tmp_path, '{"a": 1}\n{"b": 2}\n')
    assert list(read_json_lines(path)) == [(1, {"a": 1}), (2, {"b": 2})]


def test_line_separator_u2028_does_not_end_a_line(tmp_path):
    path = write(tmp_path, '{"a": "x\u2028y\u2029z\x85"}\n{"a": "next"}')
    assert [row["a"] for _, row in read_json_lines(path)] == ["x\u2028y\u2029z\x85", "next"]


def test_windows_line_ends_are_accepted(tmp_path):
    assert list(read_json_lines(write(tmp_path, '{"a": 1}\r\n{"a": 2}\r\n'))) == [(1, {"a": 1}), (2, {"a": 2})]


def test_blank_lines_at_the_end_are_skipped(tmp_path):
    assert list(read_json_lines(write(tmp_path, '{"a": 1}\n\n \r\n\t\n'))) == [(1, {"a": 1})]


def test_blank_line_inside_is_named_and_reading_goes_on(tmp_path):
    found = list(scan_json_lines(write(tmp_path, '{"a": 1}\n\n\n{"a": 2}\n')))
    assert found[0] == (1, {"a": 1})
    assert found[1][0] == 2
    assert isinstance(found[1][1], Defect)
    assert found[2] == (4, {"a": 2})


def test_rows_before_a_broken_line_are_given(tmp_path):
    rows = read_json_lines(write(tmp_path, '{"a": 1}\nbroken\n'))
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(SuiteError, match=r"rows\.jsonl:2: invalid JSON at column 1"):
        next(rows)


def test_gzip_is_read_by_its_name(tmp_path):
    path = write(tmp_path, gzip.compress(b'{"a": 1}\n'), "rows.jsonl.gz")
    assert list(read_json_lines(path)) == [(1, {"a": 1})]


def test_gzip_cut_anywhere_is_an_error(tmp_path):
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % number for number in range(200)))
    for length in (1, 9, 12, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        with pytest.raises(SuiteError):
            list(read_json_lines(write(tmp_path, whole[:length], "cut.jsonl.gz")))


def test_missing_file_names_the_compressed_one(tmp_path):
    write(tmp_path, gzip.compress(b"{}"), "rows.jsonl.gz")
    with pytest.raises(SuiteError, match=r"did you mean .*rows\.jsonl\.gz"):
        list(read_json_lines(tmp_path / "rows.jsonl"))


def test_missing_compressed_file_names_the_plain_one(tmp_path):
    path = write(tmp_path, "{}")
    with pytest.raises(SuiteError) as raised:
        list(read_json_lines(tmp_path / "rows.jsonl.gz"))
    assert raised.value.hint == f"did you mean {path}?"


def test_folder_is_an_error(tmp_path):
    with pytest.raises(SuiteError, match="cannot be read"):
        list(read_json_lines(tmp_path))


def test_error_is_of_the_asked_type(tmp_path):
    with pytest.raises(ProviderConfigError):
        list(read_json_lines(tmp_path / "missing.jsonl", error=ProviderConfigError))
    with pytest.raises(ProviderConfigError):
        list(read_json_lines(write(tmp_path, "[]\n"), error=ProviderConfigError))


def test_byte_order_mark_in_the_middle_is_invalid_json(tmp_path):
    with pytest.raises(SuiteError, match=":2: invalid JSON"):
        list(read_json_lines(write(tmp_path, b'{"a": 1}\n\xef\xbb\xbf{"a": 2}\n')))
