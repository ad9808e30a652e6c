"""Embeddings on disk: a zarr v3 hierarchy that several processes may share.

::

    cache/                      a zarr group whose attributes mark it as an embedding store
      zarr.json
      3f0c…9a/                  one entry, named by the digest of its key (see `entry_format`)
        zarr.json               key, metadata, checksum; its modification time is the entry's last
        use image/zarr.json image/c/0/0/0           one shard
      tmp-<host>-<pid>-<n>/     being written or being removed; swept later if its process died

An entry is written beside its place, flushed to the disk and renamed, so it is there as a whole or
not at all. It is removed by renaming it away first. No locks: whoever renames last wins, and equal
keys mean equal content.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from litesam.errors import StoreError
from litesam.store.base import Entry, check_entry, check_limit
from litesam.store.disk import (
    flush_folder,
    identity,
    last_use_and_size,
    raise_store_error,
    read_file,
    read_files,
    remove,
    touch,
    write_file,
    write_files,
)
from litesam.store.entry_format import (
    FORMAT_VERSION,
    GROUP_FILE,
    DamagedEntryError,
    pack_entry,
    read_group,
    read_key,
    unpack_entry,
)
from litesam.types import AnyArray, EmbeddingKey

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

_ENTRY_NAME = re.compile(r"[0-9a-f]{32}")
_TEMPORARY_NAME = re.compile(r"tmp-(?P<host>[0-9a-z]+)-(?P<pid>\d+)-[0-9a-f]{32}")
_HOST = "".join(c for c in socket.gethostname().lower() if c.isascii() and c.isalnum()) or "host"
#: Leftovers of processes that cannot be asked (other hosts, reused ids) are swept after this time.
_LEFTOVER_AGE_S = 3600.0
_KIND = "embedding-store"
#: A rename fails so where something is in its place already.
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
#: After this many puts the store is measured again, because other processes write too.
_PUTS_PER_SCAN = 64
#: Pruning goes a little below the limit, so that it is not needed again at once.
_PRUNE_TO = 0.9


#: Limit of the store in the usual folder, about 3,000 tiles; a folder that is named has none.
DEFAULT_CACHE_BYTES = 10_000_000_000


def default_cache_dir() -> Path:
    """Return ``$LITESAM_HOME/embeddings``, else ``embeddings`` in the user's cache folder."""
    home = os.environ.get("LITESAM_HOME")
    if home:
        return Path(home).expanduser() / "embeddings"
    return Path(platformdirs.user_cache_path("litesam", appauthor=False)) / "embeddings"


class ZarrStore:
    """Embedding store in a folder.

    Parameters
    ----------
    path
        The folder; made if it does not exist. An existing one must be empty or a store.
    max_bytes
        Limit of all files together; the least recently used entries go first. None: no limit. Other
        processes that use the same folder may exceed it for a while.
    read_only
        Only look: the folder may be on a disk that cannot be written. Nothing is made or swept, and
        what would write or remove raises.

    Raises
    ------
    StoreError
        If the path is a file, a folder with other content, or cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int | None = None,
        *,
        read_only: bool = False,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        self.max_bytes = check_limit(max_bytes)
        self._lock = threading.Lock()
        self._size_estimate: int | None = None
        self._puts_since_scan = 0
        self._read_only = read_only
        _open_root(self.path, read_only=read_only)
        if not read_only:
            self._sweep()

    def __repr__(self) -> str:
        return f"ZarrStore({str(self.path)!r}, max_bytes={self.max_bytes})"

    # ------------------------------------------------------------------------------------ one entry

    def get(self, key: EmbeddingKey) -> Entry | None:
        """Return an entry, or None; a damaged one is removed with a warning."""
        folder = self._folder(key)
        for _ in range(5):
            found = identity(folder)
            if found is None:
                return None
            try:
                entry = unpack_entry(key, read_files(folder))
            except (DamagedEntryError, FileNotFoundError, NotADirectoryError) as error:
                if identity(folder) != found:
                    continue  # replaced or removed by somebody while it was read
                logger.warning(
                    "The stored embedding %s is damaged (%s); it is removed and will be computed "
                    "again.",
                    folder,
                    error,
                )
                self._discard(folder)
                return None
            except OSError as error:
                raise_store_error(f"Reading the embedding {folder} failed", error)
            touch(folder)
            return entry
        return None

    def put(
        self,
        key: EmbeddingKey,
        features: Mapping[str, AnyArray],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep an entry: written beside its place, flushed, then renamed."""
        files = pack_entry(key, check_entry(features, metadata))
        size = sum(map(len, files.values()))
        if self.max_bytes is not None and size > self.max_bytes:
            logger.warning(
                "An embedding of %d bytes is larger than the store %s may grow (%d bytes) and is "
                "not kept; "
                "raise max_bytes.",
                size,
                self.path,
                self.max_bytes,
            )
            return
        folder, temporary = self._folder(key), self._temporary()
        try:
            write_files(temporary, files)
            self._move_into_place(temporary, folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise_store_error(f"Writing an embedding to the store {self.path} failed", error)
        except BaseException:  # the user's interrupt: leave nothing behind, then go
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._keep_limit(size)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, EmbeddingKey) and os.path.isfile(self._folder(key) / GROUP_FILE)

    def delete(self, key: EmbeddingKey) -> bool:
        """Remove an entry; return whether there was one."""
        return self._discard(self._folder(key))

    # ---------------------------------------------------------------------------------- all entries

    def __len__(self) -> int:
        return len(self._entry_folders())

    def keys(self) -> list[EmbeddingKey]:
        """Return the keys of all readable entries, least recently used first."""
        keys = []
        for _, _, folder in self._usage():
            with contextlib.suppress(DamagedEntryError, OSError):
                document = read_group({GROUP_FILE: read_file(folder / GROUP_FILE)})
                keys.append(read_key(document))
        return keys

    @property
    def nbytes(self) -> int:
        """Bytes of all files of all entries."""
        return sum(size for _, size, _ in self._usage())

    def prune(self, max_bytes: int | None = None) -> int:
        """Remove the least recently used entries down to ``max_bytes`` (None: the limit)."""
        limit = check_limit(max_bytes)
        self._sweep()
        with self._lock:
            return self._shrink(self.max_bytes if limit is None else limit)

    def clear(self) -> int:
        """Remove all entries and leftovers; the folder stays a store."""
        self._sweep()
        with self._lock:
            self._size_estimate = None
            return sum(self._discard(folder) for folder in self._entry_folders())

    # ------------------------------------------------------------------------------------ internals

    def _folder(self, key: EmbeddingKey) -> Path:
        return self.path / key.digest()

    def _temporary(self) -> Path:
        if self._read_only:
            raise StoreError(f"The store {self.path} was opened to be read only.")
        return self.path / f"tmp-{_HOST}-{os.getpid()}-{uuid.uuid4().hex}"

    def _move_into_place(self, temporary: Path, folder: Path) -> None:
        """Rename a complete entry to its place, in place of an older one."""
        for _ in range(10):
            try:
                os.rename(temporary, folder)
            except OSError as error:
                if error.errno not in _OCCUPIED and not os.path.lexists(folder):
                    raise
                # A folder cannot be renamed over another one; somebody else may put one back.
                self._discard(folder)
            else:
                flush_folder(self.path)
                return
        remove(temporary)  # others put this key all the time, and equal keys mean equal content

    def _discard(self, folder: Path) -> bool:
        """Remove an entry as a whole; return whether it was there."""
        grave = self._temporary()
        try:
            os.rename(folder, grave)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise_store_error(f"Removing the embedding {folder} failed", error)
        remove(grave)
        return True

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.path)
        except OSError as error:
            raise_store_error(f"The store {self.path} cannot be listed", error)

    def _entry_folders(self) -> list[Path]:
        return [self.path / name for name in self._names() if _ENTRY_NAME.fullmatch(name)]

    def _usage(self) -> list[tuple[int, int, Path]]:
        """(last use in ns, bytes, folder) of all entries, oldest use first."""
        usage = []
        for folder in self._entry_folders():
            with contextlib.suppress(OSError):
                usage.append((*last_use_and_size(folder), folder))
        return sorted(usage)

    def _keep_limit(self, added: int) -> None:
        if self.max_bytes is None:
            return
        with self._lock:
            self._puts_since_scan += 1
            if self._size_estimate is None or self._puts_since_scan >= _PUTS_PER_SCAN:
                self._shrink(self.max_bytes)
                return
            self._size_estimate += added
            if self._size_estimate > self.max_bytes:
                self._shrink(self.max_bytes)

    def _shrink(self, limit: int | None) -> int:
        """Measure and, above the limit, remove the least recently used entries; return how many."""
        usage = self._usage()
        total = sum(size for _, size, _ in usage)
        removed = 0
        if limit is not None and total > limit:
            goal = limit * _PRUNE_TO
            # The entry that was used last stays if it fits: it is the one that the user works with.
            for position, (_, size, folder) in enumerate(usage):
                if total <= goal or (position == len(usage) - 1 and total <= limit):
                    break
                removed += self._discard(folder)
                total -= size
            logger.debug("Pruned %d entries of %s to %d bytes", removed, self.path, total)
        self._size_estimate, self._puts_since_scan = total, 0
        return removed

    def _sweep(self) -> None:
        """Remove what killed processes left."""
        if self._read_only:
            return
        for name in self._names():
            match = _TEMPORARY_NAME.fullmatch(name)
            if match and _is_abandoned(self.path / name, match["host"], int(match["pid"])):
                logger.info("Sweeping the leftover %s of the store %s", name, self.path)
                remove(self.path / name)


# ------------------------------------------------------------------------------- the store's folder


def _open_root(path: Path, *, read_only: bool) -> None:
    """Make the folder a store, or check that it is one."""
    try:
        if not read_only:
            path.mkdir(parents=True, exist_ok=True)
        names = os.listdir(path)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(
            f"The store path {path} is a file or lies below one; give a folder."
        ) from error
    except OSError as error:
        raise_store_error(f"The store folder {path} cannot be made or read", error)
    others = [n for n in names if not (_ENTRY_NAME.fullmatch(n) or _TEMPORARY_NAME.fullmatch(n))]
    if GROUP_FILE in others:
        if _is_marked(path, has_entries=len(others) < len(names)):
            if not read_only and not os.access(path, os.W_OK | os.X_OK):
                raise StoreError(
                    f"The store folder {path} is not writable; change its permissions or choose "
                    "another folder."
                )
            return
    elif others:
        raise StoreError(
            f"The folder {path} is not an embedding store and not empty (it holds "
            f"{sorted(others)[0]!r}); choose "
            "an empty or a new folder. Nothing was changed."
        )
    if not read_only:
        _mark(path)


def _is_marked(path: Path, *, has_entries: bool) -> bool:
    """Whether the marker is right; False: it is damaged and may be written anew."""
    try:
        raw = read_file(path / GROUP_FILE)
    except OSError as error:
        raise_store_error(f"The store folder {path} cannot be read", error)
    try:
        marker = json.loads(raw)["attributes"]["litesam"]
        kind, version = marker["kind"], int(marker["version"])
    except (ValueError, KeyError, TypeError) as error:
        if has_entries or not raw:
            logger.warning(
                "The marker of the store %s is damaged (%s); writing it anew.", path, error
            )
            return False
        kind, version = None, 0
    if kind != _KIND:
        raise StoreError(
            f"The folder {path} holds other zarr data, not embeddings; choose an empty or a new "
            "folder. Nothing "
            "was changed."
        )
    if version > FORMAT_VERSION:
        raise StoreError(
            f"The store {path} was made by a newer litesam (format {version}, this one knows "
            f"{FORMAT_VERSION}); "
            "update litesam or choose another folder."
        )
    return True


def _mark(path: Path) -> None:
    """Write the marker: the ``zarr.json`` of a zarr v3 group."""
    marker = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"litesam": {"kind": _KIND, "version": FORMAT_VERSION}},
    }
    temporary = path / f"tmp-{_HOST}-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        write_file(temporary, json.dumps(marker, indent=1).encode())
        os.replace(temporary, path / GROUP_FILE)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise_store_error(f"The store folder {path} cannot be written", error)


def _is_abandoned(path: Path, host: str, pid: int) -> bool:
    """Whether the process that made a temporary folder is gone."""
    if host == _HOST and os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # alive, but another user's
            pass
    try:
        return time.time() - path.lstat().st_mtime > _LEFTOVER_AGE_S
    except OSError:
        return False
