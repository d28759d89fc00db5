"""Files of the frozen-prefix cache: whole or not there, under a budget, shared by processes."""

import errno
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import pytest
import torch

from trainers.cache import store as store_module
from trainers.cache.store import PrefixStore

SHAPE = (256, 16)
N_BYTES = 256 * 16 * 4


@pytest.fixture
def told():
    return []


@pytest.fixture
def store(tmp_path, told):
    return PrefixStore(tmp_path / "prefix", 10 * N_BYTES, told.append)


def states(seed=0):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def write(store, boundary, key="a", wanted=()):
    entry = store.entry({"key": key}, boundary)
    with store.writing(entry.folder):
        room = store.reserve(entry, SHAPE, torch.float32, wanted)
        if room is None:
            return None
        room.copy_(states(boundary))
        del room
        store.commit(entry, SHAPE, torch.float32)
    return entry


def read(store, entry):
    return store.open(entry, SHAPE, torch.float32)


def on_disk(store):
    return sum(p.stat().st_size for p in store.folder.rglob("*.states"))


def test_what_is_written_is_read_memory_mapped(store, told):
    entry = write(store, 1)
    found = read(store, entry)
    assert torch.equal(found, states(1)) and told == []
    if sys.platform == "linux":
        assert str(entry.states) in Path("/proc/self/maps").read_text()


def test_bfloat16_is_kept_as_it_is(store):
    entry = store.entry({"key": "half"}, 1)
    with store.writing(entry.folder):
        room = store.reserve(entry, SHAPE, torch.bfloat16, ())
        room.copy_(states(1).bfloat16())
        del room
        store.commit(entry, SHAPE, torch.bfloat16)
    assert torch.equal(store.open(entry, SHAPE, torch.bfloat16), states(1).bfloat16())
    assert entry.states.stat().st_size == N_BYTES // 2


def test_what_is_not_there_is_no_fault(store, told):
    assert read(store, store.entry({"key": "a"}, 1)) is None and told == []


def flip_a_bit(entry):
    with entry.states.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 4]))


def truncate(entry):
    os.truncate(entry.states, N_BYTES // 2)


def garble(entry):
    entry.about.write_text("{")


def lie(entry):
    entry.about.write_text(json.dumps(json.loads(entry.about.read_text()) | {"sha256": "0" * 64}))


def other_shape(entry):
    entry.about.write_text(json.dumps(json.loads(entry.about.read_text()) | {"shape": [1, 2]}))


@pytest.mark.parametrize("harm", [flip_a_bit, truncate, garble, lie, other_shape])
def test_a_broken_file_is_found_told_and_taken_away(store, told, harm):
    entry = write(store, 1)
    harm(entry)
    assert read(store, entry) is None
    assert len(told) == 1 and str(entry.states) in told[0] and "anew" in told[0]
    assert not entry.states.exists() and not entry.about.exists()
    assert torch.equal(read(store, write(store, 1)), states(1))


def test_a_kill_while_writing_leaves_nothing_that_looks_whole(store):
    entry = store.entry({"key": "a"}, 1)
    with store.writing(entry.folder):
        store.reserve(entry, SHAPE, torch.float32, ()).copy_(states())
    assert entry.partial.exists()
    assert read(store, entry) is None
    assert torch.equal(read(store, write(store, 1)), states(1))
    assert not entry.partial.exists()


def test_a_kill_between_states_and_what_says_that_they_are_whole(store):
    entry = write(store, 1)
    entry.about.unlink()
    assert read(store, entry) is None
    assert torch.equal(read(store, write(store, 1)), states(1))


def test_the_budget_holds_with_fifty_boundaries_wanted(store, told):
    for boundary in range(1, 51):
        assert write(store, boundary) is not None
        assert on_disk(store) <= store.max_bytes
    assert on_disk(store) == 10 * N_BYTES and told == []


def test_the_least_recently_used_goes_first(store):
    entries = [write(store, boundary) for boundary in range(1, 11)]
    for age, entry in enumerate(entries):
        os.utime(entry.about, (age + 1, age + 1))
    assert read(store, entries[0]) is not None  # used now
    write(store, 11, key="b")
    assert read(store, entries[0]) is not None
    assert read(store, entries[1]) is None
    assert read(store, entries[2]) is not None


def test_what_is_wanted_at_once_is_not_given_up(store, told):
    entries = [write(store, boundary) for boundary in range(1, 11)]
    assert write(store, 11, wanted=entries) is None
    assert all(read(store, entry) is not None for entry in entries)
    assert len(told) == 1 and "cache.gib" in told[0]


def test_what_is_larger_than_the_budget_gives_nothing_up(tmp_path, told):
    store = PrefixStore(tmp_path, N_BYTES - 1, told.append)
    assert write(store, 1) is None
    assert "no room for boundary 1" in told[0]
    assert on_disk(store) == 0


def test_a_full_disk_is_told_once_and_leaves_nothing(store, told, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module.os, "posix_fallocate", full)
    assert write(store, 1) is None and write(store, 1) is None
    assert len(told) == 1 and "disk is full" in told[0]
    assert list(store.folder.rglob("*.partial")) == []


def test_a_disk_that_is_full_at_the_very_end_leaves_nothing(store, monkeypatch):
    def full(path, *_args, **_options):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write(store, 1)
    assert [path.name for path in store.folder.rglob("*") if path.is_file()] == ["lock"] * 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts need root")
def test_a_disk_that_is_really_full(tmp_path, told):
    folder = tmp_path / "small"
    folder.mkdir()
    if os.system(f"mount -t tmpfs -o size=12k tmpfs {folder}") != 0:
        pytest.skip("no file system can be mounted here")
    try:
        store = PrefixStore(folder, 10 * N_BYTES, told.append)
        assert write(store, 1) is None
        assert "disk is full" in told[0]
    finally:
        os.system(f"umount {folder}")


def hold_and_write(folder, held, go_on):
    store = PrefixStore(folder, 10 * N_BYTES, print)
    entry = store.entry({"key": "a"}, 1)
    with store.writing(entry.folder):
        held.set()
        go_on.wait(30)
        room = store.reserve(entry, SHAPE, torch.float32, ())
        room.copy_(states(1))
        del room
        store.commit(entry, SHAPE, torch.float32)


def test_a_second_writer_waits_and_finds_what_the_first_wrote(store):
    context = multiprocessing.get_context("spawn")
    held, go_on = context.Event(), context.Event()
    first = context.Process(target=hold_and_write, args=(store.folder, held, go_on))
    first.start()
    assert held.wait(120)
    entry = store.entry({"key": "a"}, 1)
    assert read(store, entry) is None
    go_on.set()
    with store.writing(entry.folder):
        assert torch.equal(read(store, entry), states(1))
    first.join(60)
    assert first.exitcode == 0


def test_a_writer_that_is_killed_lets_the_next_one_in(store):
    context = multiprocessing.get_context("spawn")
    held, go_on = context.Event(), context.Event()
    first = context.Process(target=hold_and_write, args=(store.folder, held, go_on))
    first.start()
    assert held.wait(120)
    first.kill()
    first.join(60)
    began = time.monotonic()
    assert torch.equal(read(store, write(store, 1)), states(1))
    assert time.monotonic() - began < 30
