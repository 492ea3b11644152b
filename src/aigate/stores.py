"""Whole objects, in a local folder or behind a URL: S3, memory, and whatever else fsspec reads.

Every write says what it replaces: nothing, or the very object that was read before. On S3 these are the headers
If-None-Match and If-Match, so that the server itself decides which of two writers was first; the other one gets a
`ChangedError`. A store that cannot decide that is read, and never written. A write puts an object in place whole, or
leaves what was there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aigate.errors import AigateError, ChangedError, MissingExtraError, StoreError
from aigate.files import write_atomically

__all__ = [
    "FolderStore",
    "FsspecStore",
    "MemoryStore",
    "S3Store",
    "Store",
    "Stored",
    "is_url",
    "joined",
    "local_path",
    "shown",
    "split_url",
    "store_at",
]

PROBE = ".conditional-writes"
PROBE_TEXT = b"aigate asks here whether this store refuses a write whose condition does not hold.\n"
NO_SUCH_TAG = '"00000000000000000000000000000000"'
CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 600  # a run file of a million answers over a slow line
RETRIES = 3
RETRYING_S = 30

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:://|::)")
_MEMORY_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read.

    Attributes:
        content: All of it.
        tag: Another one for every other content: the ETag of an object store.
    """

    content: bytes
    tag: str


class Store(Protocol):
    """A folder of objects."""

    @property
    def shared(self) -> bool:
        """True where many machines write, nobody can keep the others out, and nobody else keeps what is replaced."""
        ...

    def where(self, name: str) -> str:
        """An object's path or URL, for messages: without anything secret."""
        ...

    def read(self, name: str) -> Stored | None:
        """An object; None where there is none.

        Raises:
            StoreError: The store cannot be reached or read. Never None then: what cannot be seen is not missing.
        """
        ...

    def write(self, name: str, content: bytes, *, replaces: Stored | None) -> None:
        """Put an object in place whole.

        Args:
            name: Its name in the folder.
            content: All of it.
            replaces: What stands there, as it was read; None: nothing does.

        Raises:
            ChangedError: Something else stands there by now; nothing was written.
            StoreError: It cannot be written.
        """
        ...

    def require_writable(self) -> None:
        """Nothing, where the store takes writes as `write` makes them.

        Raises:
            StoreError: It takes none.
        """
        ...

    def exclusive(self) -> Any:
        """A context manager to read, decide and write in: it keeps others out where the store can do so.

        Raises:
            StoreError: The store can neither keep others out nor refuse a write whose condition does not hold.
        """
        ...


def is_url(text: Path | str) -> bool:
    """True of `s3://bucket/key`, `memory://name` and the like; False of a path.

    >>> is_url("s3://bucket/key"), is_url("runs/a.jsonl"), is_url(Path("a:b"))
    (True, False, False)
    """
    return isinstance(text, str) and _SCHEME.match(text) is not None


def local_path(text: Path | str) -> Path | None:
    """The path that a path or a `file://` URL names; None of any other URL."""
    if not is_url(text):
        return Path(text)
    return Path(str(text)[len("file://") :]) if str(text).startswith("file://") else None


def joined(folder: Path | str, name: str) -> str:
    """A name in a folder or below a URL.

    >>> joined("s3://bucket/runs/", "a.jsonl"), joined("runs", "a.jsonl")
    ('s3://bucket/runs/a.jsonl', 'runs/a.jsonl')
    """
    return f"{str(folder).rstrip('/')}/{name}" if is_url(folder) else str(Path(folder) / name)


def shown(url: str) -> str:
    """A URL without what may be secret in it: a password, the signature of a signed address.

    >>> shown("https://me:secret@host/run.jsonl?signature=secret")
    'https://host/run.jsonl'
    """
    scheme, slashes, rest = url.partition("://")
    if scheme == "s3":  # its keys may hold any of these characters
        return url
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def split_url(url: str) -> tuple[str, str]:
    """The folder and the name of one object's URL.

    Raises:
        StoreError: It names no object.

    >>> split_url("s3://bucket/runs/a.jsonl")
    ('s3://bucket/runs', 'a.jsonl')
    """
    folder, _, name = url.rpartition("/")
    if not name or folder.endswith((":", ":/")):
        raise StoreError(f"{shown(url)}: names no object", hint="name one in it, such as s3://bucket/runs/run.jsonl")
    return folder, name


def store_at(folder: Path | str) -> Store:
    """The store of a folder's path or URL. Nothing is read yet.

    Raises:
        StoreError: The URL names no store that is known.
        MissingExtraError: The packages that reach it are not installed.
    """
    if (path := local_path(folder)) is not None:
        return FolderStore(path)
    url = str(folder).rstrip("/")
    if url.startswith("s3://"):
        return S3Store(url)
    if url.startswith("memory://"):
        return MemoryStore(url)
    return FsspecStore(url)


class FolderStore:
    """A local folder. Others on this machine are kept out by a lock on the folder, which goes with the process.

    Args:
        folder: Its path; it is made when it is first written to.
    """

    shared = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locked = False

    def where(self, name: str) -> str:
        """The file's path."""
        return str(self._folder / name)

    def read(self, name: str) -> Stored | None:
        """The file, tagged with the digest of its content."""
        try:
            content = (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.where(name)}: cannot be read: {error.strerror}", hint=_PERMISSIONS) from None
        return Stored(content, _digest(content))

    def write(self, name: str, content: bytes, *, replaces: Stored | None) -> None:
        """Replace the file, while nobody else can."""
        with nullcontext() if self._locked else self.exclusive():
            _require_unchanged(self.where(name), self.read(name), replaces)
            try:
                write_atomically(self._folder / name, content)
            except OSError as error:
                raise StoreError(f"{self.where(name)}: cannot be written: {error.strerror}", hint=_ROOM) from None

    def require_writable(self) -> None:
        """Nothing: whether the disk takes it is seen when it is written."""

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes of this machine out."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder, os.O_RDONLY)
        except OSError as error:
            raise StoreError(f"{self._folder}: cannot be written: {error.strerror}", hint=_PERMISSIONS) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # the folder itself is locked: no file is left in it
            self._locked = True
            yield
        finally:
            self._locked = False
            os.close(descriptor)


class FsspecStore:
    """A folder behind any URL that fsspec knows. It is read only: fsspec has no conditional writes.

    Args:
        url: The folder's URL; chained ones (`zip://a::s3://...`) too.
    """

    shared = True

    def __init__(self, url: str) -> None:
        self._url = url

    def where(self, name: str) -> str:
        """The object's URL."""
        return shown(joined(self._url, name))

    def read(self, name: str) -> Stored | None:
        """The object, tagged with the digest of its content."""
        system, path = self._opened(name)
        try:
            content = system.cat_file(path)
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - every backend of fsspec has errors of its own
            raise StoreError(f"{self.where(name)}: cannot be read: {_line(error)}", hint=_REACH) from None
        return Stored(content, _digest(content))

    def write(self, name: str, content: bytes, *, replaces: Stored | None) -> None:  # noqa: ARG002 - as `Store` has it
        """Refused."""
        self.require_writable()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Refused."""
        self.require_writable()
        yield

    def require_writable(self) -> None:
        """Refuses."""
        scheme = self._url.partition(":")[0]
        raise StoreError(
            f"{shown(self._url)}: is read, not written: '{scheme}' has no conditional writes here, "
            "so that of two writers at once one could undo the other",
            hint="write to a local path or to s3://; what is stored here can still be read",
        )

    def _opened(self, name: str) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise MissingExtraError("fsspec", extra="s3", purpose=f"reading {self.where(name)}") from None
        try:
            system, path = url_to_fs(joined(self._url, name))
        except ImportError as error:
            raise StoreError(f"{self.where(name)}: {_line(error)}", hint="install what fsspec names") from None
        except ValueError as error:
            raise StoreError(
                f"{self.where(name)}: {_line(error)}", hint="s3://, memory://, file:// or a path"
            ) from None
        return system, str(path)


class MemoryStore(FsspecStore):
    """`memory://`: fsspec's objects of this process. A lock of the process makes its writes conditional."""

    def require_writable(self) -> None:
        """Nothing."""

    def write(self, name: str, content: bytes, *, replaces: Stored | None) -> None:
        """Replace the object, while no other thread can."""
        system, path = self._opened(name)
        with _MEMORY_LOCK:
            _require_unchanged(self.where(name), self.read(name), replaces)
            system.pipe_file(path, content)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keeps nobody out: the writes are conditional."""
        yield


class S3Store:
    """A prefix of an S3 bucket, or of a bucket on any server that speaks S3. Needs the extra `s3`.

    Keys, region and endpoint come from the environment, under the names that AWS's own tools use.

    Args:
        url: `s3://bucket/prefix`.

    Raises:
        StoreError: No bucket is named, or a profile, which is not read.
        MissingExtraError: obstore is not installed.
    """

    shared = True

    def __init__(self, url: str) -> None:
        self._url = url
        bucket, _, self._prefix = url.removeprefix("s3://").partition("/")
        if not bucket:
            raise StoreError(f"{url}: names no bucket", hint="e.g. s3://bucket/prefix")
        if os.environ.get("AWS_PROFILE") and not os.environ.get("AWS_ACCESS_KEY_ID"):
            told = f"AWS_PROFILE names the profile '{os.environ['AWS_PROFILE']}', and profiles are not read"
            raise StoreError(f"{url}: {told}", hint=_EXPORT)
        self._bucket = _opened_bucket(url, bucket)

    def where(self, name: str) -> str:
        """The object's URL."""
        return joined(self._url, name)

    def read(self, name: str) -> Stored | None:
        """The object and its ETag."""
        from obstore import get

        try:
            found = get(self._bucket, self._key(name))
            return Stored(bytes(found.bytes()), str(found.meta["e_tag"]))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told as what the server or the network said
            if isinstance(error, FileNotFoundError) and _code(error) == "NoSuchKey":
                return None
            raise self._told(name, error) from None

    def write(self, name: str, content: bytes, *, replaces: Stored | None) -> None:
        """Put the object in place under If-None-Match or If-Match.

        A server whose answer was lost may have taken the write, and then refuses it when it is sent again: what stands
        there by then decides.
        """
        try:
            self._put(name, content, tag=None if replaces is None else replaces.tag)
        except ChangedError:
            found = self.read(name)
            if found is None or found.content != content:
                raise

    def require_writable(self) -> None:
        """Nothing: what the keys may do is seen when it is done."""

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keeps nobody out: the writes are conditional, and the server is asked whether they are."""
        self._require_conditional()
        yield

    def _require_conditional(self) -> None:
        """Let the server show that it refuses a write whose condition does not hold: some ignore what they don't know.

        The object that this is tried on stays: its first write is the only one that may succeed.
        """
        try:
            self._put(PROBE, PROBE_TEXT, tag=None)
        except ChangedError:
            pass
        else:
            self._require_refused(tag=None)
        self._require_refused(tag=NO_SUCH_TAG)

    def _require_refused(self, *, tag: str | None) -> None:
        try:
            self._put(PROBE, PROBE_TEXT, tag=tag)
        except ChangedError:
            return
        raise StoreError(
            f"{self._url}: has no conditional writes: the server took a write under "
            f"{'If-None-Match' if tag is None else 'If-Match'} that it had to refuse",
            hint="keep baselines in the suite's folder, or on a server with conditional writes; here two promotions at "
            "once could undo one another",
        )

    def _put(self, name: str, content: bytes, *, tag: str | None) -> None:
        from obstore import put
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            put(self._bucket, self._key(name), content, mode="create" if tag is None else {"e_tag": tag})
        except (AlreadyExistsError, PreconditionError) as error:
            if isinstance(error, PreconditionError) and _code(error) == "NoSuchBucket":
                raise self._told(name, error) from None
            raise _changed(self.where(name)) from None
        except Exception as error:  # noqa: BLE001 - as above
            raise self._told(name, error) from None

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _told(self, name: str, error: Exception) -> AigateError:
        """What went wrong, in words, and what to do about it."""
        text, code = str(error), _code(error)
        for known, said, hint in _S3_ERRORS:
            if code in known or any(mark in text for mark in known):
                return StoreError(f"{self.where(name)}: {said(text)}", hint=hint)
        return StoreError(f"{self.where(name)}: {_message(text) or _line(error)}", hint=_REACH)


def _opened_bucket(url: str, bucket: str) -> Any:
    from datetime import timedelta

    try:
        from obstore.store import S3Store as Bucket
    except ImportError:
        raise MissingExtraError("obstore", extra="s3", purpose=url) from None
    try:
        return Bucket(
            bucket,
            client_options={
                "allow_http": True,  # only where AWS_ENDPOINT_URL asks for it: S3's own addresses are https
                "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRYING_S)},
        )
    except Exception as error:  # noqa: BLE001 - a wrong value of an AWS variable
        raise StoreError(f"{url}: {_line(error)}", hint="see the AWS_* variables of the environment") from None


def _require_unchanged(where: str, found: Stored | None, replaces: Stored | None) -> None:
    if (found and found.tag) != (replaces and replaces.tag):
        raise _changed(where)


def _changed(where: str) -> ChangedError:
    return ChangedError(f"{where}: changed since it was read: somebody else wrote it at the same time")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _line(error: BaseException) -> str:
    return next(iter(str(error).split("\n")), "") or type(error).__name__


def _code(error: BaseException) -> str:
    """The code in S3's error document; empty where the answer is none."""
    found = re.search(r"<Code>(\w+)</Code>", str(error))
    return found[1] if found else ""


def _message(text: str) -> str:
    """What S3's error document says."""
    found = re.search(r"<Code>(\w+)</Code>\s*<Message>(.*?)</Message>", text, re.DOTALL)
    return f"{found[1]}: {found[2]}" if found else ""


def _wrong_region(text: str) -> str:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1, the default"
    expected = re.search(r"<Region>([\w-]+)</Region>", text)
    return f"the bucket is not in the region {region}" + (f": it is in {expected[1]}" if expected else "")


_PERMISSIONS = "check its permissions"
_ROOM = "check its permissions, and the room on the disk"
_REACH = "check the address, the network and the permissions"
_EXPORT = 'eval "$(aws configure export-credentials --profile NAME --format env)" sets the keys of a profile'
_KEYS = f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role; {_EXPORT}"
_S3_ERRORS: tuple[tuple[tuple[str, ...], Callable[[str], str], str], ...] = (
    (("NoSuchBucket",), lambda _: "no such bucket", "check its name, and AWS_ENDPOINT_URL where it is not at AWS"),
    (
        ("/latest/api/token", "/latest/meta-data", "169.254.169.254", "169.254.170.2"),
        lambda _: "no credentials: the environment has no keys, and this machine has no role",
        _KEYS,
    ),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "Unauthorized"),
        lambda text: f"the credentials were refused: {_message(text) or 'unauthorized'}",
        _KEYS,
    ),
    (
        ("AccessDenied", "AllAccessDisabled"),
        lambda text: f"access denied: {_message(text)}",
        "the keys need s3:GetObject, s3:PutObject and s3:ListBucket (without it, what is not there is denied too)",
    ),
    (
        ("redirect without LOCATION", "PermanentRedirect", "AuthorizationHeaderMalformed"),
        _wrong_region,
        "set AWS_REGION to the bucket's region",
    ),
    (("NotImplemented",), lambda _: "the server does not know conditional writes", "use one that does"),
    (
        ("HTTP error",),
        lambda text: f"cannot be reached: {_cause(text)}",
        "check the network, and AWS_ENDPOINT_URL where the bucket is not at AWS",
    ),
)
"""What marks an error, what to say of it, and what to do: the first that fits."""


def _cause(text: str) -> str:
    """The innermost thing that the network said."""
    said = re.findall(r'"([^"\n]*(?:error|refused|timed out|unreachable|certificate)[^"\n]*)"', text)
    return said[-1] if said else "no connection"
