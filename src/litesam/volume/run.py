"""One run of a job: its stages, what it says meanwhile, and what it says when it cannot go on."""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING, Any

from litesam.errors import Cancelled, JobError, LiteSamError, WriteError
from litesam.io import stem
from litesam.types import Progress
from litesam.volume.arrays import make_result
from litesam.volume.linking import link_planes
from litesam.volume.objects import collect_objects
from litesam.volume.tracks import link_times, prepare_motion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from litesam.types import IsCancelled, OnProgress
    from litesam.volume.executors import Executor, Session
    from litesam.volume.stages import Job

#: Steps of the progress for one block of each stage; the model takes nearly all of the time.
_STEPS = {
    "label": 100,
    "seams": 2,
    "compose": 2,
    "overlap": 2,
    "link": 1,
    "motion": 10,
    "write": 2,
    "measure": 1,
}


class Run:
    """One run of a job: stages after each other, progress, cancel and what goes wrong.

    Parameters
    ----------
    job
        The job, as this process sees it.
    executor
        Who does the blocks.
    on_progress, cancelled
        Callbacks.

    Attributes
    ----------
    before
        How many blocks earlier runs have labelled.
    """

    def __init__(
        self,
        job: Job,
        executor: Executor,
        on_progress: OnProgress | None,
        cancelled: IsCancelled | None,
    ) -> None:
        self.job, self.executor = job, executor
        self._on_progress, self._cancelled = on_progress, cancelled
        plan = job.plan
        blocks = plan.planes * len(plan.blocks)
        self.counts = {
            "label": blocks,
            "link": plan.planes,
            "write": blocks,
            "measure": plan.planes,
        }
        if len(plan.blocks) > 1:
            self.counts |= {"seams": plan.planes, "compose": blocks}
        if plan.counts_overlaps:
            self.counts["overlap"] = plan.planes
        if plan.links_volumes:
            self.counts["motion"] = plan.planes // plan.series
        self.done = dict.fromkeys(self.counts, 0)
        self.before = len(job.folder.finished("label"))
        #: Stage that is done, when this run began with it, and how much of it was done then.
        self._stage = ("", 0.0, 0)

    def label(self) -> int:
        """Do what is left to do; returns the number of objects."""
        plan, folder = self.job.plan, self.job.folder
        with (
            self._explained(),
            self.executor.open(self.job.work) as session,
            self._stopping(),
        ):
            for stage in ("label", "seams", "compose", "overlap"):
                if stage in self.counts:
                    self._do(session, stage)
            objects = link_planes(self.job, self._note_linked, self._check_cancelled)
            if plan.links_volumes:
                prepare_motion(self.job)
                self._do(session, "motion")
                objects = link_times(self.job, self._check_cancelled)
            name = stem(folder.path.name.removesuffix(".job"))
            if not (folder.path / "result.zarr").exists():  # of an earlier run, taken away
                folder.forget("write")
            make_result(folder.path / "result.zarr", plan, name, objects)
            self._do(session, "write")
            collect_objects(self.job, objects, self._note_measured, self._check_cancelled)
        return objects

    def _do(self, session: Session, stage: str) -> None:
        """Do the blocks of a stage that no earlier run has finished."""
        finished = self.job.folder.finished(stage)
        self.done[stage] = len(finished)
        self._report(stage)
        left: Iterable[int] = (n for n in range(self.counts[stage]) if n not in finished)
        for _ in session.run(stage, left, self._check_cancelled):
            self.done[stage] += 1
            self._report(stage)

    def _note_linked(self, planes: int) -> None:
        self.done["link"] = planes
        self._report("link")

    def _note_measured(self, planes: int) -> None:
        self.done["measure"] = planes
        self._report("measure")

    # ------------------------------------------------------------------------------------- messages

    def _check_cancelled(self) -> None:
        if self._cancelled is not None and self._cancelled():
            self.job.folder.ask_to_stop()
            raise Cancelled(
                f"Labelling was cancelled after {self._so_far()}; what is finished is kept in "
                f"{self.job.folder.path}, and the same call goes on from there."
            )

    def _so_far(self) -> str:
        return f"{self.done['label']} of {self.counts['label']} blocks"

    def _report(self, stage: str) -> None:
        if self._on_progress is None:
            return
        done = sum(_STEPS[name] * count for name, count in self.done.items())
        total = sum(_STEPS[name] * count for name, count in self.counts.items())
        what = {
            "label": "labelled",
            "seams": "seams",
            "compose": "blocks joined",
            "overlap": "planes compared",
            "link": "planes linked",
            "motion": "points in time compared",
            "write": "written",
            "measure": "planes measured",
        }[stage]
        message = f"{self.done[stage]} of {self.counts[stage]} {what}{self._time_left(stage)}"
        self._on_progress(Progress(done, total, message))

    def _time_left(self, stage: str) -> str:
        """Words for the time that the rest of a stage takes, from what this run has seen of it."""
        now, done = time.monotonic(), self.done[stage]
        if stage != self._stage[0]:
            self._stage = (stage, now, done)
        _, begun, before = self._stage
        if done <= before or done == self.counts[stage]:
            return ""
        each = (now - begun) / (done - before)
        return f", {duration_text(each * (self.counts[stage] - done))} left"

    @contextlib.contextmanager
    def _stopping(self) -> Any:
        """Ctrl-C: workers leave their blocks at once, before the executor waits for them."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            with contextlib.suppress(OSError):
                self.job.folder.ask_to_stop()
            raise

    @contextlib.contextmanager
    def _explained(self) -> Any:
        """Errors of blocks as errors of the job: what is safe, and how to go on."""
        folder = self.job.folder
        try:
            yield
        except Cancelled:
            raise
        except (OSError, JobError) as error:
            reason = _reason(error)
            message = (
                f"{reason} {self._so_far()} are finished and safe in {folder.path}; "
                f"{_advice(error)}the same command goes on from there."
            )
            kind: Callable[[str], LiteSamError] = JobError
            if isinstance(error, OSError) and not isinstance(error, LiteSamError):
                kind = WriteError
            raise kind(message) from error
        except BaseException:
            with contextlib.suppress(OSError):
                folder.ask_to_stop()
            raise


def _reason(error: Exception) -> str:
    if isinstance(error, LiteSamError) or not isinstance(error, OSError):
        text = str(error)
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = "The disk is full."
    elif error.errno == errno.EFBIG:
        text = "A file became larger than the system allows."
    else:
        text = f"The system refused: {error.strerror or error}."
    return text if text.endswith(".") else text + "."


def _advice(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, LiteSamError):
        return "make room (or mend the drive); "
    return "mend the image; " if isinstance(error, OSError) else ""


def duration_text(seconds: float) -> str:
    """Return a duration for people: 40 s, 12 min, 3.5 h, 4.2 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
