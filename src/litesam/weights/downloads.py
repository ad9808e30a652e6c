"""Download of official weights: licence, mirrors, resumption, check, and only then the name.

A file appears under its name when it is complete and is what its publisher published. Unfinished
downloads lie beside it as ``<name>.part``.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from litesam.errors import WeightsError
from litesam.models.weights_files import resolve_weights
from litesam.types import Progress
from litesam.weights.archives import ArchiveError, packed_file, unpack
from litesam.weights.licences import accept_licence as remember_licence
from litesam.weights.licences import check_licence
from litesam.weights.places import (
    find_spec,
    notes_path,
    part_path,
    record_hash,
    weights_status,
)
from litesam.weights.transport import (
    AddressError,
    Wanted,
    check_cancelled,
    check_room,
    discard,
    fetch,
    wait,
    writing_failed,
)

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.types import IsCancelled, ModelSpec, OnProgress
    from litesam.weights.places import WeightsFile, WeightsStatus

_CHUNK_BYTES = 1 << 20
#: Progress is reported at most so often.
_REPORT_S = 0.1
#: A file of which not even an approximate size is known is not larger than this.
_MAX_BYTES = 10_000_000_000
_LOCK_PAUSE_S = 0.2


def download_weights(
    model: str | ModelSpec,
    *,
    accept_licence: bool = False,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> Path:
    """Download what is missing of a model's weights into the user's folder.

    Parameters
    ----------
    model
        Name or spec of a model.
    accept_licence
        The user accepts the licences of the files; remembered, so that it is needed once.
    on_progress
        Called at most ten times a second with the bytes that are there of all that are needed.
    cancelled
        Asked several times a second; True ends the download at once. What has come is kept, and
        the next call goes on from there.

    Returns
    -------
    Path
        The model's own file. It is there already: nothing is downloaded and its content is not
        checked (see `verify_weights`).

    Raises
    ------
    UnknownModelError
        If no model has that name.
    LicenceNotAccepted
        If a licence restricts the use and has not been accepted.
    Cancelled
        If ``cancelled`` says so.
    WeightsError
        If no address gives the published file, or it cannot be written; the message says what to
        put where by hand.

    Notes
    -----
    Proxies are taken from the environment (``https_proxy``, ``http_proxy``, ``no_proxy``). Several
    processes may download the same file: one does, the others wait for it.
    """
    status = weights_status(find_spec(model))
    for file in status.missing:
        if file.spec.weights.url is None:  # part of the package, or to be fetched by hand
            resolve_weights(file.spec)  # says what to do
        if accept_licence and not file.spec.weights.permissive:
            remember_licence(file.spec.weights.licence)
        check_licence(file.spec.weights, file.spec.title)
    progress = _Report(status, on_progress)
    for file in status.missing:
        _download_file(file, progress, cancelled or (lambda: False))
        progress.next_file()
    path = weights_status(status.spec).path
    if path is None:
        raise WeightsError(f"{status.target} was removed while it was being downloaded; try again.")
    return path


class _Report:
    """Progress over all files of a model, not too often."""

    def __init__(self, status: WeightsStatus, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._sizes = [file.size_bytes or 0 for file in status.missing]
        self._before = 0
        self._index = 0
        self._last = 0.0

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """Report that so many bytes of the present file are there."""
        if total:
            self._sizes[self._index] = total
        size = max(self._sizes[self._index], done)
        now = time.monotonic()
        if now - self._last < _REPORT_S and done < size:
            return
        self._last = now
        words = f"{name}, {done / 1e6:.1f}" + (f" of {size / 1e6:.1f} MB" if size else " MB")
        self.words(words, done, max(size, 1))

    def words(self, text: str, done: int = 0, size: int = 0) -> None:
        """Report what is going on."""
        if self._on_progress is not None:
            total = self._before + (size or max(self._sizes[self._index], 1))
            total += sum(self._sizes[self._index + 1 :])
            self._on_progress(Progress(self._before + done, total, text))

    def next_file(self) -> None:
        self._before += self._sizes[self._index]
        self._index += 1


def _download_file(file: WeightsFile, progress: _Report, cancelled: IsCancelled) -> None:
    """Download one file, or wait for another process that does."""
    spec, target = file.spec, file.target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock"))
        while True:
            try:
                lock.acquire(timeout=0)
                break
            except Timeout:
                progress.words(f"waiting for another download of {target.name}")
                wait(_LOCK_PAUSE_S, cancelled)
    except OSError as error:
        raise writing_failed(error, target) from error
    try:
        if not target.is_file():  # another process may have been quicker
            _Download(spec, target, progress, cancelled).run()
    except OSError as error:
        raise writing_failed(error, target) from error
    finally:
        lock.release()


class _Download:
    """The download of one file, while its lock is held."""

    def __init__(
        self, spec: ModelSpec, target: Path, progress: _Report, cancelled: IsCancelled
    ) -> None:
        self._spec = spec
        self._weights = spec.weights
        self._target = target
        self._part = part_path(target)
        self._progress = progress
        self._cancelled = cancelled
        size, about = self._weights.size_bytes, self._weights.approx_bytes
        self._wanted = Wanted(
            size_bytes=size,
            max_bytes=size or 2 * (about or _MAX_BYTES // 2),
            checked=self._weights.sha256 is not None,
        )

    def run(self) -> None:
        """Try one address after the other; the first that gives the right file wins."""
        failures = []
        for url in (self._weights.url, *self._weights.mirrors):
            if url is None:
                continue
            try:
                self._from(url)
            except AddressError as error:
                failures.append(f"{url}: {error}")
                continue
            self._place()
            return
        where = " or ".join(url for url in (self._weights.url, *self._weights.mirrors) if url)
        raise WeightsError(
            f"The weights of {self._spec.name!r} could not be downloaded ({'; '.join(failures)}). "
            f"Without a connection: get {self._target.name} from {where} on another computer, then "
            f"`litesam models import FILE`, or put it into {self._target.parent}."
        )

    def _from(self, url: str) -> None:
        """Fetch one address and check what came."""
        resumed = self._fetch(url)
        problem = self._problem()
        if problem is not None and resumed:  # perhaps its beginning was of another file
            discard(self._part)
            self._fetch(url)
            problem = self._problem()
        if problem is not None:
            discard(self._part)
            raise AddressError(f"{problem}; it was deleted")

    def _fetch(self, url: str) -> bool:
        def report(done: int, total: int | None) -> None:
            self._progress.bytes(self._target.name, done, total)

        if not url.endswith(".zip"):
            return fetch(url, self._part, self._wanted, report, self._cancelled)
        archive = part_path(self._target.with_name(self._target.name + ".zip"))
        # Its own size is not known; packing makes weights hardly smaller and never much larger.
        wanted = replace(
            self._wanted, size_bytes=None, max_bytes=2 * self._wanted.max_bytes, checked=False
        )
        fetch(url, archive, wanted, report, self._cancelled)
        try:
            self._unpack(archive)
        finally:
            if not self._cancelled():
                discard(archive)
        return False

    def _unpack(self, archive: Path) -> None:
        """Take the one file out of an archive."""
        entry = packed_file(archive, self._weights.file)
        if entry is None:
            raise AddressError(f"it is no archive of one file {self._weights.file}")
        check_room(self._part, entry.file_size)
        discard(self._part)
        try:
            unpack(
                archive,
                entry,
                self._part,
                self._wanted.max_bytes,
                lambda: check_cancelled(self._cancelled),
            )
        except ArchiveError as error:
            raise AddressError(str(error)) from error

    def _problem(self) -> str | None:
        """What is wrong with the complete part, or None."""
        size = self._part.stat().st_size
        if self._weights.size_bytes not in (None, size):
            return f"it has {size} bytes instead of {self._weights.size_bytes}"
        if self._weights.sha256 is not None:
            self._progress.words(f"checking {self._target.name}", size, size)
            if self._hash() != self._weights.sha256:
                return f"{self._content()} (its SHA-256 differs)"
            return None
        from litesam.models.weights import check_weights

        self._progress.words(f"checking {self._target.name}", size, size)
        try:
            check_weights(self._spec, self._part)
        except WeightsError as error:
            return f"{self._content()} ({error})"
        return None

    def _content(self) -> str:
        with self._part.open("rb") as file:
            start = file.read(64).lstrip().lower()
        page = start.startswith((b"<!doctype", b"<html", b"<?xml"))
        return "it is a web page" if page else "it is not the published file"

    def _hash(self) -> str:
        digest = hashlib.sha256()
        with self._part.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                check_cancelled(self._cancelled)
                digest.update(chunk)
        return digest.hexdigest()

    def _place(self) -> None:
        """Give the checked file its name."""
        record_hash(self._target, None if self._weights.sha256 else self._hash())
        os.replace(self._part, self._target)
        notes_path(self._part).unlink(missing_ok=True)
