"""Break volume jobs of real size, go on, and see whether the labels are the same, bit for bit.

The embryo of the samples, repeated to a stack of slices of 512 × 512 px, is labelled and linked
with the bundled model by the command ``litesam``, again and again, each in a process of its own:

* undisturbed; meanwhile a second run begins on the same output
* killed (SIGKILL) at a third and at two thirds of the slices, and while labels are written
* on a disk that is full in the middle of the work, and larger later on (a tmpfs: needs root)
* one of two worker processes killed (``--workers``), and after that one of two workers of a dask
  LocalCluster (``--scheduler local:2``)

What must not be raises; the rest is a table. With ``--slices 104`` it takes five to ten minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from litesam.io import read_image
from litesam.samples import sample_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PX = 512
_PATIENCE_S = 1800.0


class Job:
    """One output, and the runs that make it.

    Parameters
    ----------
    image, output
        Where they lie.
    """

    def __init__(self, image: Path, output: Path) -> None:
        self.image, self.output = image, output
        self.folder = output.with_name(output.name + ".job")
        self.seconds = 0.0
        output.parent.mkdir(exist_ok=True)

    @contextmanager
    def run(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Start the command; it has ended, however, at the end of the block."""
        command = [sys.executable, "-m", "litesam.cli", "label", str(self.image)]
        command += ["-o", str(self.output), "--axes", "ZYX", "--link", "--quiet", *options]
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
        )
        try:
            yield process
            process.wait(_PATIENCE_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            self.seconds += time.monotonic() - start

    def finished(self, stage: str = "label") -> list[Path]:
        """Return the marks of finished blocks."""
        return sorted((self.folder / "done" / stage).glob("*/*.json"))

    def wait_for(
        self, process: subprocess.Popen[str], enough: Callable[[], bool], what: str
    ) -> None:
        """Wait until a run has come so far."""
        end = time.monotonic() + _PATIENCE_S
        while not enough():
            if process.poll() is not None:
                raise RuntimeError(f"The run ended before {what}: {process.communicate()[1]}")
            if time.monotonic() > end:
                raise RuntimeError(f"The run has not come to {what}.")
            time.sleep(0.02)

    def to_the_end(self, *options: str) -> dict[str, Any]:
        """Run until it is complete; returns what the command says."""
        with self.run("--json", *options) as process:
            out, err = process.communicate(timeout=_PATIENCE_S)
        if process.returncode:
            raise RuntimeError(f"The run failed: {err}")
        if self.folder.exists():
            raise RuntimeError(f"{self.folder} was left behind.")
        about: dict[str, Any] = json.loads(out)[0]
        return about

    def digest(self) -> str:
        """Return a hash of names and contents of all files of the labels."""
        found = hashlib.sha256()
        for path in sorted(self.output.rglob("*")):
            if path.is_file():
                found.update(str(path.relative_to(self.output)).encode())
                found.update(path.read_bytes())
        return found.hexdigest()


class Table:
    """What was done and what came of it."""

    def __init__(self) -> None:
        self.expected = ""

    def row(self, what: str, said: str, before: str, job: Job) -> None:
        """Check the labels of a job that is complete, and print a line."""
        same = job.digest() == self.expected
        print(f"| {what} | {said} | {before} | {job.seconds:.0f} s | {same} |", flush=True)
        if not same:
            raise RuntimeError(f"The labels of {job.output} differ from those without a failure.")


def last_line(process: subprocess.Popen[str], folder: Path) -> str:
    """Return what the command said last, without the names of folders here."""
    text = process.communicate()[1].strip().splitlines()
    if not text:
        return "nothing"
    return text[-1].replace(f"{folder}{os.sep}", "").removeprefix("litesam: ")


def undisturbed(job: Job, table: Table, folder: Path) -> int:
    """Label without a failure, but for a second run; returns the disk that half of it takes."""
    with job.run("--json") as process:
        job.wait_for(process, lambda: len(job.finished()) > 3, "the fourth slice")
        second = Job(job.image, job.output)
        with second.run() as other:
            said = last_line(other, folder)
        if other.returncode != 1 or "Another run is writing" not in said:
            raise RuntimeError(f"The second run was not refused: {said}")
        half = slices_of(job.image) // 2
        job.wait_for(process, lambda: len(job.finished()) >= half, "half of the slices")
        disk = disk_of(job.folder)
        out, err = process.communicate(timeout=_PATIENCE_S)
    if process.returncode:
        raise RuntimeError(f"The undisturbed run failed: {err}")
    about = json.loads(out)[0]
    table.expected = job.digest()
    print(
        f"{about['planes']} slices of {PX} × {PX} px, {about['objects']} objects, "
        f"{job.seconds:.0f} s undisturbed\n"
    )
    print("| what happened | what it said | finished before | all runs | same labels |")
    print("|---|---|---|---|---|")
    table.row("a second run of the same output", said, "–", job)
    return disk


def killed(job: Job, table: Table) -> None:
    """Kill a run three times."""
    count = slices_of(job.image)
    moments = (("label", count // 3), ("label", 2 * count // 3), ("write", count // 3))
    for stage, number in moments:
        with job.run() as process:
            job.wait_for(
                process,
                lambda stage=stage, number=number: len(job.finished(stage)) >= number,
                f"{stage} {number}",
            )
            os.killpg(process.pid, signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"The run ended by itself: {process.returncode}")
    about = job.to_the_end()
    kills = "kill -9 at a third and two thirds of the slices, and while writing"
    table.row(kills, "nothing", f"{about['blocks_before']} of {about['blocks']}", job)


def full(image: Path, folder: Path, table: Table, disk: int) -> None:
    """Let the disk run full, then make room."""
    place = folder / "small-disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={disk}", "tmpfs", str(place)]
    if os.name != "posix" or os.geteuid() or subprocess.run(mount).returncode:
        print("| disk full | not run: needs root, to mount a tmpfs | | | |")
        return
    try:
        job = Job(image, place / "labels.ome.zarr")
        with job.run() as process:
            said = last_line(process, place)
        if process.returncode != 1 or "The disk is full" not in said or job.output.exists():
            raise RuntimeError(f"The full disk was not explained: {said}")
        subprocess.run(["mount", "-o", "remount,size=1g", str(place)], check=True)
        about = job.to_the_end()
        what = f"disk of {disk / 1e6:.1f} MB full, later enlarged"
        table.row(what, said, f"{about['blocks_before']} of {about['blocks']}", job)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def workers_die(job: Job, table: Table, folder: Path) -> None:
    """Kill a worker process of each kind of executor."""
    count = slices_of(job.image)
    with job.run("--workers", "2") as process:
        job.wait_for(process, lambda: len(job.finished()) >= count // 3, "a third")
        os.kill(worker_of(job), signal.SIGKILL)
        said = last_line(process, folder)
    if process.returncode != 1 or not job.folder.exists():
        raise RuntimeError(f"A dead worker was not explained: {said}")
    before = len(job.finished())
    with job.run("--scheduler", "local:2", "--json") as process:
        job.wait_for(process, lambda: len(job.finished()) >= before + count // 3, "two thirds")
        os.kill(worker_of(job), signal.SIGKILL)
        out, err = process.communicate(timeout=_PATIENCE_S)
    if process.returncode:
        raise RuntimeError(f"The cluster did not go on: {err}")
    about = json.loads(out)[0]
    what = "kill -9 of one of two workers: processes, then of a LocalCluster"
    said = f"processes: {said} LocalCluster: goes on by itself"
    table.row(what, said, f"{about['blocks_before']} of {about['blocks']}", job)


def worker_of(job: Job) -> int:
    """Return the process that labelled the newest block."""
    newest = max(job.finished(), key=lambda path: path.stat().st_mtime_ns)
    return int(json.loads(newest.read_bytes())["worker"].rpartition(":")[2])


def slices_of(image: Path) -> int:
    """Return the number of slices of the stack."""
    return int(zarr.open_array(image, mode="r").shape[0])


def disk_of(folder: Path) -> int:
    """Return the bytes that a folder takes on a disk."""
    blocks = 0
    for path in folder.rglob("*"):
        try:
            blocks += -(-path.stat().st_size // 4096) if path.is_file() else 1
        except FileNotFoundError:  # written and renamed meanwhile
            continue
    return blocks * 4096


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=104)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary one)")
    options = parser.parse_args()
    embryo = np.asarray(read_image(sample_path("embryo")).array)
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        image = folder / "image.zarr"
        repeats = [
            -(-n // size) for n, size in zip((options.slices, PX, PX), embryo.shape, strict=True)
        ]
        stack = np.tile(embryo, repeats)[: options.slices, :PX, :PX]
        zarr.create_array(image, data=stack, chunks=(1, PX, PX))
        table = Table()
        disk = int(0.8 * undisturbed(Job(image, folder / "labels.ome.zarr"), table, folder))
        killed(Job(image, folder / "killed" / "labels.ome.zarr"), table)
        full(image, folder, table, disk)
        workers_die(Job(image, folder / "workers" / "labels.ome.zarr"), table, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
