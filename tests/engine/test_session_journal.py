"""Autosave: what is on the disk after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.session_samples import click, full_session
from litesam.errors import ReadError, WriteError
from litesam.objects import Change, apply_change, commit_mask
from litesam.session import (
    Draft,
    HandEdit,
    ModelReference,
    ObjectCommit,
    Patch,
    Session,
    SessionJournal,
    find_journals,
    journal,
    recover,
    session_to_json,
)
from litesam.types import Box

NAME = "work.litesam-journal"


def commit(number: int) -> ObjectCommit:
    return ObjectCommit(number, (), click(number, number + 0.1))


def ids(session: Session) -> list[int]:
    return [action.id for action in session.actions if isinstance(action, ObjectCommit)]


def empty() -> Session:
    return replace(full_session(), actions=(), drafts=())


def test_journal_holds_the_newest_state(tmp_path: Path) -> None:
    with SessionJournal(tmp_path / NAME, full_session()) as saved:
        saved.append(commit(20), commit(21))
        saved.drop()
        saved.append(commit(22))
        saved.update(drafts=(Draft((), click(3, 3)),), model=ModelReference("mobile_sam"))
        saved.update(settings={"a": 1}, image=replace(full_session().image, channel=0))
        found = recover(tmp_path / NAME)
        assert found.complete
        assert found.session.found is not None
        assert session_to_json(found.session) == session_to_json(saved.session)
        saved.update(found=None)
        assert recover(tmp_path / NAME).session.found is None
        saved.update(found=full_session().found)
        assert session_to_json(recover(tmp_path / NAME).session) == session_to_json(saved.session)
    assert ids(found.session)[-2:] == [20, 22]
    assert found.session.image.channel == 0
    with pytest.raises(WriteError, match="closed"):
        saved.append(commit(23))


def test_every_cut_gives_the_newest_complete_state(tmp_path: Path) -> None:
    path = tmp_path / NAME
    ends = []
    with SessionJournal(path, empty(), sync=False) as saved:
        ends.append(path.stat().st_size)
        for number in (1, 2, 3):
            saved.append(commit(number))
            ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for size in range(ends[0], len(whole) + 1):
        path.write_bytes(whole[:size])
        found = recover(path)
        done = sum(size >= end for end in ends) - 1
        assert ids(found.session) == [1, 2, 3][:done]
        assert found.complete == (size in ends)
    for size in (0, 5, ends[0] - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ReadError, match="nothing can be recovered"):
            recover(path)
    broken = bytearray(whole)
    broken[ends[1] + 30] ^= 1  # one bit, in the second event
    path.write_bytes(bytes(broken))
    assert ids(recover(path).session) == [1]
    with pytest.raises(ReadError, match="cannot be read"):
        recover(tmp_path / "nothing")


def test_journal_is_written_anew_when_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_SMALLEST_REWRITE_BYTES", 5_000)
    path = tmp_path / NAME
    with SessionJournal(path, empty(), sync=False) as saved:
        for _ in range(200):  # undo and redo, again and again
            saved.append(commit(1))
            saved.drop()
        saved.append(commit(2))
        assert path.stat().st_size < 7_000
        assert ids(recover(path).session) == [2]


def test_open_journals_are_nobody_elses(tmp_path: Path) -> None:
    first = SessionJournal(tmp_path / NAME, empty())
    first.append(commit(1))
    with pytest.raises(WriteError, match="is open"):
        SessionJournal(tmp_path / NAME, empty())
    assert find_journals(tmp_path) == []
    first.close()
    (one,) = find_journals(tmp_path)
    assert ids(one.session) == [1]
    (tmp_path / f"bad{journal.JOURNAL_SUFFIX}").write_bytes(b"nonsense")
    assert len(find_journals(tmp_path)) == 1
    again = SessionJournal(tmp_path / NAME, one.session)
    again.append(commit(2))
    again.close(delete=True)
    again.close()
    assert find_journals(tmp_path) == []
    with pytest.raises(WriteError, match="does not exist"):
        SessionJournal(tmp_path / "nowhere" / NAME, empty())


def changes(count: int) -> tuple[np.ndarray, list[Change]]:
    """Labels after some commits, and what each changed."""
    labels = np.zeros(empty().image.label_shape, np.uint16)
    found = []
    for number in range(1, count + 1):
        mask = np.zeros(labels.shape[-2:], bool)
        mask[number : number + 9, 3 : 3 + number] = True
        change = commit_mask(labels, mask, (2,), number=number, policy="overwrite").change
        apply_change(labels, change)
        found.append(change)
    return labels, found


def test_labels_come_back_without_a_model(tmp_path: Path) -> None:
    labels, found = changes(4)
    stroke = HandEdit((Patch((0,), Box(1, 1, 2, 3), np.ones((1, 2), bool), 9),))
    labels[0, 1, 1:3] = 9
    path = tmp_path / NAME
    with SessionJournal(path, empty()) as saved:
        saved.append(commit(1), commit(2), changes=found[:2])
        saved.append(commit(77), changes=found[3:])
        saved.drop()
        saved.append(commit(3), changes=found[2:3])
        saved.append(stroke)
    first = recover(path)
    # Again from what was recovered, as the next program does.
    with SessionJournal(path, first.session, pixels=first.pixels) as saved:
        saved.append(commit(4), changes=found[3:])
    back = recover(path).labels()
    assert back is not None
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, labels)
    with SessionJournal(path, first.session) as saved:
        saved.append(commit(4), changes=found[3:])
    assert recover(path).labels() is None
    with SessionJournal(path, replace(empty(), labels_dtype="uint8")) as saved:
        saved.append(HandEdit((replace(stroke.patches[0], values=300),)))
    with pytest.raises(ReadError, match="no room for the id 300"):
        recover(path).labels()


def test_nothing_is_lost_behind_a_disk_that_was_full(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with SessionJournal(path, empty(), sync=False) as saved:
        saved.append(commit(1))
        real = saved._file
        assert real is not None

        class Full:
            closed = False
            tell, fileno, close = real.tell, real.fileno, real.close

            def write(self, data: bytes) -> int:
                return real.write(data[:20])

        saved._file = Full()  # type: ignore[assignment]
        with pytest.raises(WriteError, match="cannot be written: No space left"):
            saved.append(commit(2))
        assert ids(recover(path).session) == [1]
        saved._file = real
        saved.append(commit(3))
        assert ids(recover(path).session) == [1, 2, 3]
        saved.append(commit(4))
    assert ids(recover(path).session) == [1, 2, 3, 4]


PROGRAM = """
import sys
from engine.test_session_journal import NAME, commit, empty
from litesam.session import SessionJournal
journal = SessionJournal(sys.argv[1] + "/" + NAME, empty())
number = 0
while True:
    number += 1
    journal.append(commit(number))
    print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_process_loses_nothing_that_it_saved(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": tests},
    )
    assert process.stdout is not None
    try:
        seen = [int(process.stdout.readline()) for _ in range(40)]
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
    last = int(rest[-1]) if rest else seen[-1]
    (found,) = find_journals(tmp_path)  # the lock of the dead is free
    assert ids(found.session)[:last] == list(range(1, last + 1))
    assert len(found.session.actions) in (last, last + 1)
