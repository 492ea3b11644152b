"""Stores: which URL leads where, what is refused, and what each failure of an S3 server is called."""

import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aigate.errors import ChangedError, StoreError
from aigate.stores import (
    FolderStore,
    FsspecStore,
    MemoryStore,
    S3Store,
    is_url,
    local_path,
    shown,
    split_url,
    store_at,
)


@pytest.mark.parametrize("url", ["s3://b/k", "memory://a", "file:///a", "https://h/a", "zip://a::s3://b/c", "gs://b/k"])
def test_a_url_is_told_from_a_path(url):
    assert is_url(url)


@pytest.mark.parametrize("path", ["a", "a/b.jsonl", "/a/b", "./s3:/x", "a:b", "C:/a", "", Path("s3://b/k")])
def test_a_path_is_told_from_a_url(path):
    assert not is_url(path)


def test_a_file_url_is_a_path():
    assert local_path("file:///a/b.jsonl") == Path("/a/b.jsonl")
    assert local_path("a/b.jsonl") == Path("a/b.jsonl")
    assert local_path("s3://a/b.jsonl") is None


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/folder/", "memory://"])
def test_a_url_that_names_no_object_is_refused(url):
    with pytest.raises(StoreError, match="names no object"):
        split_url(url)


def test_a_url_leads_to_its_store(tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    assert isinstance(store_at(tmp_path), FolderStore)
    assert isinstance(store_at(f"file://{tmp_path}"), FolderStore)
    assert isinstance(store_at("memory://a"), MemoryStore)
    assert isinstance(store_at("s3://bucket/prefix"), S3Store)
    assert type(store_at("gs://bucket/prefix")) is FsspecStore


def test_what_may_be_secret_in_a_url_is_not_shown():
    assert shown("https://me:secret@host/a/run.jsonl?X-Amz-Signature=secret") == "https://host/a/run.jsonl"
    assert shown("sftp://me:secret@host:22/run.jsonl") == "sftp://host:22/run.jsonl"
    assert shown("s3://bucket/a?b@c.jsonl") == "s3://bucket/a?b@c.jsonl"


def test_a_backend_without_conditional_writes_is_read_and_not_written(tmp_path):
    store = FsspecStore(f"local://{tmp_path}")
    (tmp_path / "run.jsonl").write_bytes(b"content")
    assert store.read("run.jsonl").content == b"content"
    assert store.read("other.jsonl") is None
    for write in (
        store.require_writable,
        lambda: store.write("run.jsonl", b"other", replaces=None),
        lambda: store.exclusive().__enter__(),
    ):
        with pytest.raises(StoreError, match="'local' has no conditional writes") as caught:
            write()
        assert "s3://" in caught.value.hint
    assert (tmp_path / "run.jsonl").read_bytes() == b"content"


def test_an_unknown_scheme_is_said_so():
    with pytest.raises(StoreError, match="nosuch://a/b: Protocol not known: nosuch"):
        store_at("nosuch://a").read("b")


def test_a_scheme_whose_package_is_missing_names_the_package():
    with pytest.raises(StoreError, match=r"gs://a/b:.*gcsfs"):
        store_at("gs://a").read("b")


def test_a_folder_that_is_in_the_way_is_not_taken_for_nothing(tmp_path):
    (tmp_path / "run.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        FolderStore(tmp_path).read("run.jsonl")


def test_a_full_disk_is_said_so(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aigate.stores.write_atomically", full)
    with pytest.raises(StoreError, match=r"run.jsonl: cannot be written: No space left") as caught:
        FolderStore(tmp_path).write("run.jsonl", b"x", replaces=None)
    assert "room" in caught.value.hint


def test_processes_wait_for_one_another_at_a_folder(tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom aigate.stores import FolderStore\n"
        "with FolderStore(Path(sys.argv[1])).exclusive():\n    print('in', flush=True)\n    sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "in\n"
        entered = []

        def enter():
            with FolderStore(tmp_path).exclusive():
                entered.append(time.monotonic())

        waiting = threading.Thread(target=enter)
        waiting.start()
        waiting.join(0.3)
        assert not entered
        left = time.monotonic()
        holder.communicate("go\n", timeout=30)
        waiting.join(30)
    assert entered[0] > left


def test_memory_is_shared_within_the_process():
    url = f"memory://{uuid.uuid4().hex}"
    store_at(url).write("a", b"one", replaces=None)
    assert store_at(url).read("a").content == b"one"
    with pytest.raises(ChangedError):
        store_at(url).write("a", b"two", replaces=None)


# --- what an S3 server may say ----------------------------------------------------------------------------------------


def error(code, message="", more=""):
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>'.encode()


MALFORMED = "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'"
SAID = {
    "no-bucket": (404, error("NoSuchBucket", "The specified bucket does not exist")),
    "denied": (403, error("AccessDenied", "Access Denied")),
    "unknown-key": (403, error("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist.")),
    "expired": (400, error("ExpiredToken", "The provided token has expired.")),
    "redirect": (301, error("PermanentRedirect", "must be addressed using the specified endpoint")),
    "region": (400, error("AuthorizationHeaderMalformed", MALFORMED, "<Region>eu-central-1</Region>")),
    "no-s3": (404, b"<html>not found</html>"),
    "not-implemented": (501, error("NotImplemented", "A header you provided is not implemented")),
    "slow-down": (503, error("SlowDown", "Please reduce your request rate.")),
}
"""What S3 answers, by the name of the object that is asked for; as its API reference prints it."""
TOLD = {
    "no-bucket": ("no such bucket", "check its name"),
    "denied": ("access denied: AccessDenied: Access Denied", "s3:PutObject"),
    "unknown-key": ("the credentials were refused: InvalidAccessKeyId: The AWS", "AWS_SECRET_ACCESS_KEY"),
    "expired": ("the credentials were refused: ExpiredToken", "export-credentials"),
    "redirect": ("the bucket is not in the region us-east-1", "AWS_REGION"),
    "region": ("not in the region us-east-1: it is in eu-central-1", "AWS_REGION"),
    "no-s3": ("Object at location no-s3 not found", "check the address"),
    "not-implemented": ("the server does not know conditional writes", "use one that does"),
    "slow-down": ("SlowDown: Please reduce", "check the address"),
}


class Saying(BaseHTTPRequestHandler):
    """Answers what `SAID` has under the object's name."""

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        code, body = SAID[self.path.rpartition("/")[2]]
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_):
        pass


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return monkeypatch


@pytest.fixture
def saying(aws):
    with ThreadingHTTPServer(("127.0.0.1", 0), Saying) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        aws.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", SAID)
def test_each_failure_of_s3_is_named_with_its_next_step(saying, name):
    store = store_at("s3://bucket")
    told, hint = TOLD[name]
    for ask in (lambda: store.read(name), lambda: store.write(name, b"x", replaces=None)):
        with pytest.raises(StoreError) as caught:
            ask()
        assert caught.value.message.startswith(f"s3://bucket/{name}: ")
        assert told in caught.value.message
        assert hint in caught.value.hint
        assert "Debug source" not in caught.value.message


def test_an_endpoint_that_nobody_listens_at_is_said_so(aws):
    aws.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match=r"s3://bucket/a: cannot be reached: .*refused") as caught:
        store_at("s3://bucket").read("a")
    assert "AWS_ENDPOINT_URL" in caught.value.hint


def test_a_machine_without_keys_is_said_so(aws):
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    aws.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match="no credentials") as caught:
        store_at("s3://bucket").read("a")
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_a_profile_is_refused_where_it_would_be_ignored(aws):
    aws.setenv("AWS_PROFILE", "team")
    store_at("s3://bucket")  # the keys win, as they do with AWS's own tools
    aws.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StoreError, match="AWS_PROFILE names the profile 'team'") as caught:
        store_at("s3://bucket")
    assert "aws configure export-credentials" in caught.value.hint


def test_a_url_without_a_bucket_is_refused(aws):
    with pytest.raises(StoreError, match="names no bucket"):
        store_at("s3:///key")


@pytest.mark.parametrize("name", ["a/../b", "a//b"])
def test_a_key_that_s3_would_read_otherwise_is_refused(aws, name):
    with pytest.raises(StoreError, match="s3://bucket/a"):
        store_at("s3://bucket").read(name)
