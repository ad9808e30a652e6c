"""Files and folders of the zarr store: read, written with a flush, removed, and what went wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from litesam.errors import StoreError
from litesam.store.entry_format import GROUP_FILE, DamagedEntryError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def read_file(path: Path) -> bytes:
    """Read a regular file; a link is not followed out of the store."""
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    )
    with open(descriptor, "rb") as file:
        return file.read()


def read_files(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder: relative path with slashes → content."""
    files: dict[str, bytes] = {}
    pending = [(folder, "")]
    while pending:
        current, prefix = pending.pop()
        with os.scandir(current) as found:
            for item in found:
                name = f"{prefix}{item.name}"
                if item.is_dir(follow_symlinks=False):
                    pending.append((Path(item.path), f"{name}/"))
                elif item.is_file(follow_symlinks=False):
                    files[name] = read_file(Path(item.path))
                else:
                    raise DamagedEntryError(f"{name} is not a regular file")
    return files


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and flush it to the disk."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files of an entry, its ``zarr.json`` last, and flush them with their folders."""
    folders = {folder}
    for name in sorted(files, key=lambda name: (name == GROUP_FILE, name)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        folders.update(p for p in path.parents if p.is_relative_to(folder))
        write_file(path, files[name])
    for path in sorted(folders, reverse=True):
        flush_folder(path)


def flush_folder(path: Path) -> None:
    """Flush a folder's list of names; Windows has no such thing."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a folder, file or link; what cannot be removed is swept another time."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def identity(folder: Path) -> tuple[int, int] | None:
    """What distinguishes a folder from one that takes its name later; None if there is nothing."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise_store_error(f"The store folder {folder.parent} cannot be read", error)
    return (status.st_ino, status.st_mtime_ns)


def touch(folder: Path) -> None:
    """Note the use of an entry; if it is gone or read-only, only its place in the queue is lost."""
    now = time.time_ns()
    with contextlib.suppress(OSError):
        os.utime(folder / GROUP_FILE, ns=(now, now))


def last_use_and_size(folder: Path) -> tuple[int, int]:
    """Last use in ns (0 for a broken entry: it goes first) and bytes of all files."""
    last_use, size = 0, 0
    for current, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(current, name))
            size += status.st_size
            if name == GROUP_FILE and current == str(folder):
                last_use = status.st_mtime_ns
    return last_use, size


def raise_store_error(what: str, error: OSError) -> NoReturn:
    """Turn an error of the operating system into one that says what to do."""
    if error.errno in _NO_ROOM:
        advice = (
            "the disk (or a quota) is full: free some space, remove old embeddings with "
            "'litesam cache prune --max-size SIZE', or choose a store on another disk"
        )
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "change the permissions or choose another folder"
    else:
        advice = "check the disk or choose another folder"
    raise StoreError(f"{what} ({error.strerror or error}); {advice}.") from error
