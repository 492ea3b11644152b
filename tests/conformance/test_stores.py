"""One contract for every store that is written: what is put in place is whole, and of two writers one is refused."""

import threading
import uuid

import pytest

from aigate.errors import ChangedError
from aigate.stores import FolderStore, MemoryStore, Stored, joined, store_at

WRITERS = 8


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "objects"


@pytest.fixture
def memory():
    return f"memory://{uuid.uuid4().hex}/objects"


@pytest.fixture
def s3(bucket):
    return f"{bucket.url}/a prefix/objects"


STORES = ["folder", "memory", pytest.param("s3", marks=pytest.mark.integration)]


@pytest.fixture(params=STORES)
def store(request):
    return store_at(request.getfixturevalue(request.param))


# --- the contract ---------------------------------------------------------------------------------------------------


def gives_back_what_was_written(store):
    for content in (b"", b"one\n", b"\xff\x00" * 70_000):
        store.write("name.jsonl", content, replaces=store.read("name.jsonl"))
        assert store.read("name.jsonl").content == content


def has_nothing_before_it_is_written(store):
    assert store.read("name.jsonl") is None
    store.write("other.jsonl", b"x", replaces=None)
    assert store.read("name.jsonl") is None


def tags_other_content_otherwise(store):
    store.write("name.jsonl", b"one", replaces=None)
    first = store.read("name.jsonl")
    store.write("name.jsonl", b"two", replaces=first)
    assert first.tag
    assert store.read("name.jsonl").tag != first.tag


def does_not_write_over_what_it_was_not_told_of(store):
    store.write("name.jsonl", b"one", replaces=None)
    with pytest.raises(ChangedError, match="changed since it was read"):
        store.write("name.jsonl", b"two", replaces=None)
    assert store.read("name.jsonl").content == b"one"


def does_not_replace_what_changed(store):
    store.write("name.jsonl", b"one", replaces=None)
    first = store.read("name.jsonl")
    store.write("name.jsonl", b"two", replaces=first)
    with pytest.raises(ChangedError, match="changed since it was read"):
        store.write("name.jsonl", b"three", replaces=first)
    assert store.read("name.jsonl").content == b"two"


def does_not_replace_what_is_gone(store):
    with pytest.raises(ChangedError):
        store.write("name.jsonl", b"two", replaces=Stored(b"one", '"0123456789abcdef0123456789abcdef"'))
    assert store.read("name.jsonl") is None


def lets_one_of_many_writers_win(store):
    """Each thread has a store of its own, as processes have."""
    store.write("name.jsonl", b"start", replaces=None)
    standing, barrier, lost = store.read("name.jsonl"), threading.Barrier(WRITERS), []

    def write(number):
        barrier.wait()
        try:
            _again(store).write("name.jsonl", b"%d" % number, replaces=standing)
        except ChangedError:
            lost.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = set(range(WRITERS)) - set(lost)
    assert store.read("name.jsonl").content == b"%d" % winner


def names_the_object_in_its_errors(store):
    store.write("name.jsonl", b"one", replaces=None)
    with pytest.raises(ChangedError) as caught:
        store.write("name.jsonl", b"two", replaces=None)
    assert caught.value.message.startswith(store.where("name.jsonl"))
    assert store.where("name.jsonl").endswith("objects/name.jsonl")


def lets_its_only_user_in(store):
    store.require_writable()
    with store.exclusive():
        store.write("name.jsonl", b"one", replaces=store.read("name.jsonl"))
    with store.exclusive():
        assert store.read("name.jsonl").content == b"one"


CONTRACT = [
    gives_back_what_was_written,
    has_nothing_before_it_is_written,
    tags_other_content_otherwise,
    does_not_write_over_what_it_was_not_told_of,
    does_not_replace_what_changed,
    does_not_replace_what_is_gone,
    lets_one_of_many_writers_win,
    names_the_object_in_its_errors,
    lets_its_only_user_in,
]


def _again(store):
    return FolderStore(store._folder) if isinstance(store, FolderStore) else type(store)(store._url)


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_every_store_keeps_the_contract(rule, store):
    rule(store)


# --- a known violator of each rule ------------------------------------------------------------------------------------


class Wrong(MemoryStore):
    """Keeps objects in memory, and breaks one rule."""


class Truncating(Wrong):
    def read(self, name):
        found = super().read(name)
        return found and Stored(found.content[:10], found.tag)


class Inventive(Wrong):
    def read(self, name):
        return super().read(name) or Stored(b"", "")


class Untagged(Wrong):
    def read(self, name):
        found = super().read(name)
        return found and Stored(found.content, "same")

    def write(self, name, content, *, replaces):
        super().write(name, content, replaces=super().read(name))


class Overwriting(Wrong):
    def write(self, name, content, *, replaces):
        super().write(name, content, replaces=super().read(name))


class CheckingFirst(Wrong):
    """Looks whether the condition holds, and writes a while later."""

    def write(self, name, content, *, replaces):
        found = self.read(name)
        if (found and found.tag) != (replaces and replaces.tag):
            raise ChangedError(f"{self.where(name)}: changed since it was read")
        if replaces is not None:
            threading.Event().wait(0.1)
        super().write(name, content, replaces=self.read(name))


class Nameless(Wrong):
    def write(self, name, content, *, replaces):
        try:
            super().write(name, content, replaces=replaces)
        except ChangedError:
            raise ChangedError("changed since it was read") from None


class Closed(Wrong):
    def require_writable(self):
        raise PermissionError


VIOLATORS = [
    (gives_back_what_was_written, Truncating),
    (has_nothing_before_it_is_written, Inventive),
    (tags_other_content_otherwise, Untagged),
    (does_not_write_over_what_it_was_not_told_of, Overwriting),
    (does_not_replace_what_changed, Overwriting),
    (does_not_replace_what_is_gone, Overwriting),
    (lets_one_of_many_writers_win, CheckingFirst),
    (names_the_object_in_its_errors, Nameless),
    (lets_its_only_user_in, Closed),
]


@pytest.mark.parametrize(("rule", "violator"), VIOLATORS, ids=lambda part: part.__name__)
def test_every_rule_rejects_its_violator(rule, violator, memory):
    with pytest.raises((AssertionError, pytest.fail.Exception, ChangedError, PermissionError, ValueError)):
        rule(violator(memory))


def test_every_rule_has_a_violator():
    assert [rule for rule, _ in VIOLATORS] == CONTRACT


def test_names_below_a_prefix_are_joined_by_one_slash():
    assert joined("memory://a/", "b") == "memory://a/b"
