"""Atomic output: write under a temporary name beside the target, rename when complete.

An error, a full disk or Ctrl-C in the middle leaves neither a half-written output nor the temporary
one, and an output that was there before stays as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from litesam.errors import WriteError
from litesam.io.ome_zarr import is_zarr

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Names may have 255 bytes nearly everywhere, and temporary ones are a little longer.
_LONGEST_BYTES = 220


def check_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Return the path of an output that may be written.

    Raises
    ------
    WriteError
        If it exists and ``overwrite`` is false, if it is a folder of other things than a Zarr
        image, which is never replaced, or if its folder does not exist.
    """
    target = Path(path)
    try:
        if not target.parent.is_dir():
            raise WriteError(
                f"The folder {target.parent} of the output {target.name} does not exist; create it "
                f"first."
            )
        if not overwrite and (target.exists() or target.is_symlink()):
            raise WriteError(
                f"{target} exists already; choose another name or allow overwriting "
                f"(overwrite=True, "
                "--overwrite)."
            )
        if target.is_dir() and not _may_be_replaced(target):
            raise WriteError(
                f"{target} is a folder of other files, which is not replaced by an output; choose "
                "another name."
            )
    except WriteError:
        raise
    except OSError as error:  # a name too long, no right to look
        raise WriteError(f"{target} cannot be written: {_reason(error)}.") from error
    return target


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path in the target's folder; move it to the target when the block ends well.

    Works for files and for folders (OME-Zarr). With ``overwrite`` an existing target is replaced
    only at the end.

    Parameters
    ----------
    path
        The target.
    overwrite
        Whether an existing target may be replaced.

    Yields
    ------
    Path
        Where to write; it does not exist yet.

    Raises
    ------
    WriteError
        If the target exists and may not be replaced, or anything in the block or the renaming
        raises `OSError` (disk full, no permission).
    """
    target = check_output(path, overwrite=overwrite)
    part = _beside(target, "part")
    try:
        yield part
        check_output(target, overwrite=overwrite)  # another process may have been quicker
        _move(part, target)
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"{target} cannot be written: {_reason(error)}.") from error
    finally:
        _remove(part)


def _may_be_replaced(folder: Path) -> bool:
    """Whether a folder is a Zarr image, such as an earlier output, or empty."""
    return is_zarr(folder) or not any(folder.iterdir())


def _move(part: Path, target: Path) -> None:
    """Rename ``part`` to ``target``; an old target is replaced."""
    if part.is_dir() or target.is_dir():
        old = _beside(target, "old")
        existed = target.exists()
        if existed:
            target.rename(old)
        try:
            part.rename(target)
        except BaseException:
            if existed:
                old.rename(target)
            raise
        _remove(old)
    else:
        part.replace(target)


def _remove(path: Path) -> None:
    """Delete a file or folder if it is there; a failure is not worth hiding the first error."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _beside(target: Path, what: str) -> Path:
    """A new name in the target's folder that ends as its own and is not much longer."""
    name = target.name
    while len(os.fsencode(name)) > _LONGEST_BYTES:
        name = name[1:]
    return target.with_name(f".{uuid.uuid4().hex[:8]}.{what}-{name}")


def _reason(error: OSError) -> str:
    """Say in words why the system refused."""
    return error.strerror or str(error) or type(error).__name__
