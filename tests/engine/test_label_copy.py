"""Copies of labels: made while the labels are worked on, complete or not there, taken along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.session_samples import full_session
from litesam.errors import Cancelled, WriteError
from litesam.io import read_labels
from litesam.objects import apply_change, change_of
from litesam.session import (
    LabelCopy,
    LabelsLoaded,
    SessionJournal,
    label_copy,
    named_from,
    recover,
    remove_copy,
    take_copies_along,
)


class Busy:
    """Labels that are worked on: with each tile that is read, something is changed elsewhere."""

    def __init__(self, array, seed: int) -> None:
        self.array, self.changes = array, []
        self.shape, self.dtype = array.shape, array.dtype
        self._rng = np.random.default_rng(seed)

    def __getitem__(self, place):
        read = self.array[place].copy()
        corner = tuple(int(self._rng.integers(size - 2)) for size in self.shape)
        window = tuple(slice(at, at + 3) for at in corner)
        before = self.array[window].copy()
        after = np.where(before % 2, 0, int(self._rng.integers(1, 9))).astype(before.dtype)
        change = change_of(before, after, corner)
        apply_change(self.array, change)
        self.changes.append(change)
        return read


@pytest.mark.parametrize("seed", range(5))
def test_copy_is_what_was_there_at_first(tmp_path, monkeypatch, seed) -> None:
    monkeypatch.setattr(label_copy, "_TILE_PX", 4)
    first = np.random.default_rng(seed).integers(0, 4, (3, 10, 9)).astype(np.uint16)
    labels = Busy(first.copy(), seed)
    copy = LabelCopy(tmp_path / "a.labels.zarr", labels)
    copy.read()
    assert not copy.path.exists(), "it is not complete"
    copy.complete(labels.changes)
    found = read_labels(copy.path).array
    assert (labels.array != first).any()
    np.testing.assert_array_equal(found, first)
    assert found.dtype == np.uint16
    remove_copy(copy.path)
    assert not list(tmp_path.iterdir())


def test_cancelled_copy_is_none(tmp_path) -> None:
    copy = LabelCopy(tmp_path / "a.labels.zarr", np.ones((4, 4), np.int32))
    with pytest.raises(Cancelled):
        copy.read(lambda: True)
    assert not copy.path.exists()
    remove_copy(copy.path)
    assert not list(tmp_path.iterdir())


def test_disk_that_refuses_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    copy = LabelCopy(tmp_path / "file" / "a.labels.zarr", np.ones((4, 4), np.int32))
    with pytest.raises(WriteError, match="cannot be written"):
        copy.read()


def test_recovered_labels_begin_with_the_copy(tmp_path) -> None:
    session = full_session()
    shape = session.image.label_shape
    there = np.zeros(shape, np.dtype(session.labels_dtype))
    there[..., :2, :2] = 7
    copy = LabelCopy(tmp_path / "a.labels.zarr", there)
    copy.read()
    copy.complete()
    session = replace(session, actions=(LabelsLoaded(copy.path.name),))
    path = tmp_path / "a.litesam-journal"
    SessionJournal(path, session).close()
    np.testing.assert_array_equal(recover(path).labels(), there)
    assert recover(path).complete_labels
    beside = tmp_path / "elsewhere"
    beside.mkdir()
    carried = take_copies_along(session, tmp_path, beside / "work.json")
    assert carried.actions == (LabelsLoaded("work.labels.zarr"),)
    np.testing.assert_array_equal(read_labels(beside / "work.labels.zarr").array, there)
    # What is no copy of this folder is named as it was.
    opened = named_from(carried, beside)
    assert take_copies_along(opened, tmp_path, tmp_path / "other.json") is not None
    assert opened.actions == (LabelsLoaded(str(beside / "work.labels.zarr")),)
    remove_copy(copy.path)
    left = recover(path)
    assert not left.complete_labels
    assert left.without_missing().session.actions == ()
    assert not left.without_missing().labels().any()
    with pytest.raises(WriteError, match="again in a moment"):
        take_copies_along(session, tmp_path, beside / "work.json")
