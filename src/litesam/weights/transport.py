"""One address → one unfinished file: resumed where that is possible, cancelled at any moment.

Built on the standard library's ``urllib``, which takes proxies from the environment (and from the
system's settings on Windows and macOS). The connection is served by a thread of its own, so that
cancelling never waits for a server.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import queue
import re
import shutil
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from litesam.errors import Cancelled, WeightsError
from litesam.weights.places import notes_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from litesam.types import IsCancelled

#: A server that sends nothing for so long is asked again.
_TIMEOUT_S = 30.0
#: How long the caller waits before it looks at ``cancelled`` again.
_POLL_S = 0.1
#: Pauses between attempts that brought nothing new; one more attempt than pauses.
_PAUSES_S = (0.5, 1.0, 2.0)
_CHUNK_BYTES = 1 << 18
#: Answers after which the same address may work a moment later.
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class AddressError(Exception):
    """An address does not give the file; another one may."""


class _PassingError(Exception):
    """The attempt failed, the next one may work."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of a file before it is fetched.

    Attributes
    ----------
    size_bytes
        Its size, or None.
    max_bytes
        More than this is certainly another file.
    checked
        Whether its content is checked by a hash later, so that parts of different copies may be
        put together.
    """

    size_bytes: int | None
    max_bytes: int
    checked: bool


def fetch(
    url: str,
    part: Path,
    wanted: Wanted,
    on_bytes: Callable[[int, int | None], None],
    cancelled: IsCancelled,
) -> bool:
    """Fetch an address into a file, going on where an earlier attempt ended.

    Returns
    -------
    bool
        Whether the beginning of the file came from an earlier call.

    Raises
    ------
    AddressError
        If the address does not give the file, after several attempts.
    Cancelled
        If ``cancelled`` says so; the part is kept.
    WeightsError
        If the disk is full or the file cannot be written.
    """
    kept = _size(part)
    without_progress = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, part, wanted, on_bytes, cancelled)
            return 0 < kept <= _size(part)
        except _PassingError as error:
            without_progress = 0 if _size(part) > before else without_progress + 1
            if without_progress > len(_PAUSES_S):
                raise AddressError(str(error)) from error
            wait(_PAUSES_S[max(without_progress - 1, 0)], cancelled)


def wait(seconds: float, cancelled: IsCancelled) -> None:
    """Sleep, unless cancelled."""
    pause = threading.Event()
    while seconds > 0:
        check_cancelled(cancelled)
        pause.wait(min(seconds, _POLL_S))
        seconds -= _POLL_S


def check_cancelled(cancelled: IsCancelled) -> None:
    """Raise `Cancelled` if the caller wants no more."""
    if cancelled():
        raise Cancelled("The download was cancelled; what has come is kept and used next time.")


def discard(part: Path) -> None:
    """Remove an unfinished file with its notes."""
    part.unlink(missing_ok=True)
    notes_path(part).unlink(missing_ok=True)


def writing_failed(error: OSError, path: Path) -> WeightsError:
    """Return the error of a file that could not be written."""
    if error.errno in _DISK_FULL:
        return WeightsError(
            f"The disk is full: {path.name} does not fit into {path.parent}, nothing of it was "
            "kept. Make room, or choose another folder with LITESAM_HOME."
        )
    return WeightsError(
        f"{path} cannot be written: {error.strerror or error}. Check the folder's permissions, or "
        "choose another one with LITESAM_HOME."
    )


def check_room(path: Path, needed_bytes: int) -> None:
    """Raise `WeightsError` if a file that still needs so many bytes does not fit on the disk."""
    free = shutil.disk_usage(path.parent).free
    if needed_bytes > free:
        raise WeightsError(
            f"The disk is too full: {path.name} needs {needed_bytes / 1e6:.0f} MB more, "
            f"{path.parent} has {free / 1e6:.0f} MB. Make room, or choose another folder with "
            "LITESAM_HOME."
        )


# -------------------------------------------------------------------------------------- one attempt


def _attempt(
    url: str,
    part: Path,
    wanted: Wanted,
    on_bytes: Callable[[int, int | None], None],
    cancelled: IsCancelled,
) -> None:
    """Ask once and write what comes; returns when the file is complete."""
    start, headers = _resumption(url, part, wanted)
    reader = _Reader(urllib.request.Request(url, headers=headers))
    reader.start()
    try:
        answer = reader.next(cancelled)
        if isinstance(answer, urllib.error.HTTPError) and answer.code == 416 and start:
            if start == (wanted.size_bytes or _whole_size(answer.headers)):
                return  # everything was there already
            discard(part)
            raise _PassingError("the part that was there does not belong to the file")
        if isinstance(answer, BaseException):
            raise _failure(answer)
        start, total = _checked_answer(answer, start, wanted, part)
        check_room(part, (total or wanted.size_bytes or 0) - start)
        _take_notes(url, part, answer.headers)
        done = _write(reader, part, start, total, wanted, on_bytes, cancelled)
    finally:
        reader.stop()
    if total is not None and done < total:
        raise _PassingError(f"the connection ended after {done} of {total} bytes")


def _resumption(url: str, part: Path, wanted: Wanted) -> tuple[int, dict[str, str]]:
    """First byte to ask for, and the request's headers."""
    headers = {
        "User-Agent": f"litesam/{version('napari-litesam')}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",  # hashes and ranges are those of the file itself
    }
    start = _size(part)
    notes = _notes(part)
    # The server then sends all of it if it changed meanwhile.
    validator = notes.get("validator") if notes.get("url") == url else None
    if start and not validator and not wanted.checked:
        discard(part)
        start = 0
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    return start, headers


def _checked_answer(
    answer: _Answer, start: int, wanted: Wanted, part: Path
) -> tuple[int, int | None]:
    """First byte that comes, and size of the whole file if the server says it."""
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise AddressError("the server sends it compressed, which was not asked for")
    length = answer.headers.get("Content-Length")
    total = int(length) if length is not None and length.isdecimal() else None
    if answer.status == 206:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            discard(part)
            raise _PassingError("the server sent another part than the one asked for")
        total = int(match[3]) if match[3] != "*" else int(match[2]) + 1
    else:
        start = 0
    if total is not None and wanted.size_bytes not in (None, total):
        raise AddressError(
            f"it has {total} bytes{_kind(answer.headers)}, the published file has "
            f"{wanted.size_bytes}"
        )
    _check_size(total or 0, wanted, answer.headers)
    return start, total


def _whole_size(headers: Message) -> int | None:
    """Size of the file, as a server says it that has nothing left to send."""
    match = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    return None if match is None else int(match[1])


def _check_size(size: int, wanted: Wanted, headers: Message) -> None:
    if size > wanted.max_bytes:
        raise AddressError(
            f"it has more than {wanted.max_bytes} bytes{_kind(headers)}, so it is another file"
        )


def _kind(headers: Message) -> str:
    """Say so when the server sends a page instead of a file, as networks with a log-in do."""
    kind = headers.get_content_type()
    return " and is a web page" if kind == "text/html" else ""


def _write(
    reader: _Reader,
    part: Path,
    start: int,
    total: int | None,
    wanted: Wanted,
    on_bytes: Callable[[int, int | None], None],
    cancelled: IsCancelled,
) -> int:
    """Write what comes; returns the size of the part."""
    done = start
    try:
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            on_bytes(done, total)
            while True:
                item = reader.next(cancelled)
                if item is None:
                    break
                if isinstance(item, BaseException):
                    raise _failure(item)
                file.write(item)
                done += len(item)
                if done > min(wanted.max_bytes, total or wanted.max_bytes):
                    raise AddressError(f"it has more than {done - 1} bytes, so it is another file")
                on_bytes(done, total)
            file.flush()
            os.fsync(file.fileno())
    except AddressError:
        discard(part)
        raise
    except OSError as error:
        if error.errno in _DISK_FULL:
            discard(part)
        raise writing_failed(error, part) from error
    return done


def _failure(error: BaseException) -> Exception:
    """Say whether a failure may pass."""
    if isinstance(error, urllib.error.HTTPError):
        words = f"the server answers {error.code} ({error.reason})"
        return _PassingError(words) if error.code in _PASSING_STATUS else AddressError(words)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return AddressError(
            f"the server's certificate is not trusted ({reason.verify_message}); if a proxy signs "
            "connections here, name its certificates in SSL_CERT_FILE"
        )
    if isinstance(reason, TimeoutError):
        return _PassingError("the server does not answer")
    if isinstance(reason, (OSError, http.client.HTTPException)):
        return _PassingError(f"no connection ({getattr(reason, 'strerror', None) or reason})")
    if isinstance(reason, (str, ValueError)):
        return AddressError(str(reason))
    return error if isinstance(error, Exception) else AddressError(repr(error))


# --------------------------------------------------------------------------------- the part's notes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _notes(part: Path) -> dict[str, Any]:
    try:
        notes = json.loads(notes_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _take_notes(url: str, part: Path, headers: Message) -> None:
    """Keep what tells whether the server still has the same file; weak tags do not."""
    tag = headers.get("ETag", "")
    validator = tag if tag.startswith('"') else headers.get("Last-Modified")
    with suppress(OSError):  # without notes the next download starts from the beginning
        notes_path(part).write_text(
            json.dumps({"url": url, "validator": validator}), encoding="utf-8"
        )


# ----------------------------------------------------------------------------------- the connection


@dataclass(frozen=True, slots=True)
class _Answer:
    """The server's answer, before its content."""

    status: int
    headers: Message


class _Reader(threading.Thread):
    """Opens an address and hands on, in this order: an `_Answer`, chunks, None. Or an error."""

    def __init__(self, request: urllib.request.Request) -> None:
        super().__init__(name="litesam-download", daemon=True)
        self._request = request
        self._items: queue.Queue[Any] = queue.Queue(maxsize=8)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Read until the end, an error or `stop`."""
        try:
            with _opener().open(self._request, timeout=_TIMEOUT_S) as response:
                self._put(_Answer(response.status, response.headers))
                while not self._stopped.is_set() and (chunk := response.read1(_CHUNK_BYTES)):
                    self._put(chunk)
            self._put(None)
        except urllib.error.HTTPError as error:
            error.close()
            self._put(error)
        except Exception as error:  # of any kind: the caller waits for an answer
            self._put(error)

    def next(self, cancelled: IsCancelled) -> Any:
        """Wait for the next item.

        Raises
        ------
        Cancelled
            If ``cancelled`` says so meanwhile.
        """
        while True:
            check_cancelled(cancelled)
            try:
                return self._items.get(timeout=_POLL_S)
            except queue.Empty:
                continue

    def stop(self) -> None:
        """End soon; nobody waits for it."""
        self._stopped.set()

    def _put(self, item: Any) -> None:
        while not self._stopped.is_set():
            try:
                self._items.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never out of an encrypted connection."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise urllib.error.URLError(f"it leads to an address without encryption ({newurl})")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https, and nothing else: no local files, no ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=_certificates()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _certificates() -> ssl.SSLContext:
    """Trust what the system trusts; some Pythons of macOS have no list, then that of certifi."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath or context.get_ca_certs()):
        with suppress(ImportError):
            context.load_verify_locations(import_module("certifi").where())
    return context
