"""The folder of a job, beside its output: plan, marks of finished blocks, intermediate labels.

What is in it may be trusted after a kill or a power cut: files are written under another name,
flushed to the disk and renamed, and a block is marked as finished only when its labels are on the
disk. The mark itself is not flushed: one that is lost, or empty, costs doing a block again.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import uuid
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from litesam.errors import JobError, WriteError
from litesam.volume.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from litesam.types import AnyArray

_MARKS_IN_A_FOLDER = 1000


def job_path(target: Path) -> Path:
    """Return the folder of the job that writes an output."""
    return target.with_name(target.name + ".job")


class JobFolder:
    """Files of one job; workers open it as well as the run itself.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    JobError
        On use, if its plan is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def plan(self) -> Plan:
        """What the job does."""
        try:
            return Plan.from_json((self.path / "plan.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobError(
                f"The plan of the job in {self.path} is missing or damaged ({error}); delete the "
                "folder and begin anew (restart=True, --restart)."
            ) from error

    @property
    def has_plan(self) -> bool:
        """Whether a run has been here before."""
        return (self.path / "plan.json").exists()

    def write_plan(self, plan: Plan) -> None:
        """Write the plan down; it does not change any more."""
        write_durably(self.path / "plan.json", plan.to_json().encode())
        self.plan = plan

    # ---------------------------------------------------------------------------------------- marks

    def finished(self, stage: str) -> set[int]:
        """Return the numbers of the finished blocks of a stage; workers may be writing others."""
        folder = self.path / "done" / stage
        return {
            int(mark.stem)
            for mark in folder.glob("*/*.json")
            if mark.stem.isdecimal() and mark.stat().st_size  # no part of a mark on its way
        }

    def mark(self, stage: str, number: int, about: Mapping[str, Any]) -> None:
        """Say that a block is finished; what it wrote has to be on the disk."""
        path = self._mark_path(stage, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _part_of(path)
        try:
            part.write_text(json.dumps(dict(about)), encoding="utf-8")
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def unmark(self, stage: str, number: int) -> None:
        """Say that a block has to be done again."""
        self._mark_path(stage, number).unlink(missing_ok=True)

    def forget(self, *stages: str) -> None:
        """Say that stages have to be done again: what they wrote is not there any more."""
        for stage in stages:
            shutil.rmtree(self.path / "done" / stage, ignore_errors=True)

    def about(self, stage: str, number: int) -> dict[str, Any]:
        """Return what was said about a finished block."""
        found: dict[str, Any] = json.loads(self._mark_path(stage, number).read_bytes())
        return found

    def _mark_path(self, stage: str, number: int) -> Path:
        group = f"{number // _MARKS_IN_A_FOLDER:04d}"
        return self.path / "done" / stage / group / f"{number:07d}.json"

    # --------------------------------------------------------------------------------------- arrays

    def save(self, name: str, **arrays: AnyArray) -> None:
        """Keep large arrays; workers read parts of them with `load`."""
        for key, array in arrays.items():
            target = self.path / name / f"{key}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            part = _part_of(target)
            with part.open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
            sync_names(target.parent)

    def load(self, name: str, key: str) -> AnyArray:
        """Return an array; only what is used of it is read."""
        found: AnyArray = np.load(self.path / name / f"{key}.npy", mmap_mode="r")
        return found

    def save_table(self, name: str, **arrays: AnyArray) -> None:
        """Keep small arrays that belong together, in one file: one flush to the disk."""
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        write_durably(self.path / f"{name}.npz", content.getvalue())

    def load_table(self, name: str) -> dict[str, AnyArray]:
        """Return arrays that `save_table` has kept."""
        with np.load(self.path / f"{name}.npz") as found:
            return {key: found[key] for key in found.files}

    # --------------------------------------------------------------------------------------- cancel

    @property
    def _stop_path(self) -> Path:
        return self.path / "stop"

    def ask_to_stop(self) -> None:
        """Tell all workers, in whatever process or machine, to stop soon."""
        self._stop_path.touch()

    def stop_asked(self) -> bool:
        """Whether workers should stop."""
        return self._stop_path.exists()

    def forget_stop(self) -> None:
        """Begin again."""
        self._stop_path.unlink(missing_ok=True)


class LockedFolder:
    """The folder of a job while one run has it; no other run may.

    Raises
    ------
    JobError
        If another run has it.
    WriteError
        If it cannot be made.
    """

    def __init__(self, target: Path, *, restart: bool = False) -> None:
        path = job_path(target)
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise WriteError(f"The folder {path} cannot be made: {error.strerror}.") from error
        self._lock = FileLock(path / "lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise JobError(
                f"Another run is writing {target} at this moment; wait for it, stop it, or choose "
                "another output."
            ) from None
        except OSError as error:
            raise WriteError(f"{path} cannot be locked: {error.strerror or error}.") from error
        if restart:
            for entry in path.iterdir():
                if entry.name != "lock":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.folder = JobFolder(path)
        self.folder.forget_stop()

    def __enter__(self) -> JobFolder:
        return self.folder

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def remove(self) -> None:
        """Delete the folder: the job is done."""
        self._lock.release()
        shutil.rmtree(self.folder.path, ignore_errors=True)


# ----------------------------------------------------------------------------------- durable writes


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that is there completely or not at all, also after a power cut.

    Raises
    ------
    OSError
        If the system refuses; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _durably(path) as file:
        file.write(content)
    sync_names(path.parent.parent)


def copy_durably(source: Path, path: Path) -> None:
    """Copy a file to one that is there completely or not at all, also after a power cut.

    Raises
    ------
    OSError
        If the system refuses; nothing is left behind.
    """
    with source.open("rb") as old, _durably(path) as new:
        shutil.copyfileobj(old, new)


@contextmanager
def _durably(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when all of it is on the disk."""
    part = _part_of(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_names(path.parent)


def sync_file(path: Path, root: Path) -> None:
    """Flush a file that somebody else wrote, and its name; nothing if it is not there.

    Parameters
    ----------
    path
        The file.
    root
        A folder above it, which was there before: so far up names are flushed.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    for folder in path.parents:
        sync_names(folder)
        if folder == root:
            return


def sync_names(folder: Path) -> None:
    """Flush the names in a folder, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network drives know no such
            raise
    finally:
        os.close(handle)


def _part_of(path: Path) -> Path:
    return path.with_name(f".{uuid.uuid4().hex[:8]}.part-{path.name}")
