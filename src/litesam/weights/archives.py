"""Weights that are published inside a .zip: the one file is taken out, nothing else.

Where an archive wants its files to lie is never asked, so none can escape; and no more is written
than the file can have.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from typing import TYPE_CHECKING

from litesam.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CHUNK_BYTES = 1 << 20
_SUFFIXES = (".pt", ".pth", ".safetensors")


class ArchiveError(WeightsError):
    """An archive is damaged, does not hold the file, or holds one that cannot be it."""


def packed_file(path: Path, name: str | None = None) -> zipfile.ZipInfo | None:
    """Return the entry of an archive that is a weights file.

    Parameters
    ----------
    path
        Any file.
    name
        Name of the weights file. None: any, if it is the archive's only file.

    Returns
    -------
    zipfile.ZipInfo or None
        None if the file is no such archive. PyTorch's own files are archives, too, of other
        content.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [
                entry
                for entry in archive.infolist()
                if not entry.is_dir() and not entry.filename.startswith("__MACOSX")
            ]
    except (zipfile.BadZipFile, OSError, ValueError):
        return None
    if name is None:
        found = entries if entries and entries[0].filename.lower().endswith(_SUFFIXES) else []
    else:
        found = [e for e in entries if e.filename.replace("\\", "/").rpartition("/")[2] == name]
    return found[0] if len(found) == 1 else None


def unpack(
    path: Path, entry: zipfile.ZipInfo, target: Path, max_bytes: int, check: Callable[[], None]
) -> None:
    """Write the content of an archive's entry to a file, which on failure does not stay.

    Parameters
    ----------
    path
        The archive.
    entry
        As `packed_file` returned it.
    target
        File to write.
    max_bytes
        More is certainly no such file.
    check
        Called now and then; may raise.

    Raises
    ------
    ArchiveError
        If the archive is damaged or the content too large.
    OSError
        If the file cannot be written.
    """
    too_large = f"{entry.filename!r} in the archive is too large to be the file"
    if entry.file_size > max_bytes:
        raise ArchiveError(too_large)
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(entry) as source,
            target.open("wb") as file,
        ):
            size = 0
            while chunk := source.read(_CHUNK_BYTES):
                check()
                size += len(chunk)
                if size > max_bytes:
                    raise ArchiveError(too_large)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        target.unlink(missing_ok=True)
        raise ArchiveError(f"the archive is damaged ({error})") from error
    except RuntimeError as error:  # encrypted
        target.unlink(missing_ok=True)
        raise ArchiveError(f"the archive cannot be read ({error})") from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise
