"""The store of replies: whole lines only, one reply per key, also for several processes and after kills."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from accessory.eval.judge.request import Reply, digest_of
from accessory.eval.judge.store import ReplyStore
from SPHINX_V import DataError, UsageError


def reply(number, text="8 7"):
    return Reply(digest_of(number), text, "stop", "judge-1", 10, 2)


def test_what_was_added_is_there_after_reopening(tmp_path):
    path = tmp_path / "new folder" / "cache.jsonl"
    with ReplyStore(path) as store:
        assert store.get(digest_of(1)) is None
        store.add(reply(1, "8 7\né\u2028"))
        store.add(Reply(digest_of(2), "", None, "", None, None))
    with ReplyStore(path) as store:
        assert len(store) == 2
        assert store.get(digest_of(1)) == reply(1, "8 7\né\u2028")
        assert store.get(digest_of(2)) == Reply(digest_of(2), "", None, "", None, None)


def test_a_key_keeps_its_first_reply(tmp_path):
    with ReplyStore(tmp_path / "cache.jsonl") as store:
        store.add(reply(1, "first"))
        store.add(reply(1, "second"))
        assert store.get(digest_of(1)) == reply(1, "first")
    assert len((tmp_path / "cache.jsonl").read_text().splitlines()) == 1


def test_half_a_line_at_the_end_is_cut_off_by_the_next_reply(tmp_path):
    path = tmp_path / "cache.jsonl"
    with ReplyStore(path) as store:
        store.add(reply(1))
    whole = path.read_bytes()
    long = whole.replace(b"8 7", b"8 7 " + b"because " * 99)
    for half in (whole[:1], whole[:-1], long[:-50]):  # also one that lacks its line break alone
        path.write_bytes(whole + half)
        with ReplyStore(path) as store:
            assert len(store) == 1
            store.add(reply(2))
        with ReplyStore(path) as store:
            assert len(store) == 2
        assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == [digest_of(1), digest_of(2)]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"key": "x"}', b"\xff", b'{"judge": 1}'])
def test_another_line_is_an_error_with_its_number(tmp_path, line):
    path = tmp_path / "cache.jsonl"
    with ReplyStore(path) as store:
        store.add(reply(1))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match=r"cache\.jsonl, line 2"):
        ReplyStore(path)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"):
        ReplyStore(tmp_path / "file" / "cache.jsonl")


def _asks(path, asked, start):
    """Gets every key, as slowly as a judge would, and writes down which ones it had to ask for."""
    start.wait()
    with ReplyStore(path) as store, asked.open("a") as lines:
        for number in range(6):
            with store.claim(digest_of(number)) as known:
                if known is None:
                    lines.write(f"{number}\n")
                    lines.flush()
                    time.sleep(0.02)
                    store.add(reply(number))


def _holds(path, holding):
    with ReplyStore(path) as store, store.claim(digest_of(1)):
        holding.set()
        time.sleep(600)


def test_processes_never_ask_for_the_same_key(tmp_path):
    context = multiprocessing.get_context("fork")
    start = context.Event()
    arguments = (tmp_path / "cache.jsonl", tmp_path / "asked.txt", start)
    processes = [context.Process(target=_asks, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted((tmp_path / "asked.txt").read_text().split()) == list("012345")


def test_a_killed_process_lets_go_of_its_key(tmp_path):
    context = multiprocessing.get_context("fork")
    holding = context.Event()
    process = context.Process(target=_holds, args=(tmp_path / "cache.jsonl", holding))
    process.start()
    assert holding.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with ReplyStore(tmp_path / "cache.jsonl") as store, store.claim(digest_of(1)) as known:
        assert known is None
