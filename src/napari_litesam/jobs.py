"""Worker threads: one `Lane` runs one job at a time and keeps only the newest of those that wait.

Each job has a generation number. The reply of a job that was overtaken or cancelled never reaches
its callbacks. Callbacks and progress arrive in the GUI thread. A lane has a Python thread of its
own instead of napari's ``thread_worker``: that one replaces the process-wide warning filters while
it runs, which two workers at once leave in disorder, and it would keep waiting jobs that nobody
wants any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from qtpy.QtCore import QObject, Signal, Slot

from litesam.errors import Cancelled, LiteSamError
from litesam.types import IsCancelled, OnProgress, Progress


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a job gets: where to tell its progress, and whether to stop."""

    on_progress: OnProgress
    cancelled: IsCancelled


Job = Callable[[JobContext], Any]


@dataclass(slots=True, eq=False)
class _Task:
    generation: int
    job: Job
    on_done: Callable[[Any], None]
    on_error: Callable[[LiteSamError], None]
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    last: _Message | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Message:
    """From the worker to the GUI thread."""

    generation: int
    kind: str
    value: Any


class Lane(QObject):  # type: ignore[misc]  # qtpy is untyped
    """A worker thread with one running and at most one waiting job.

    Attributes
    ----------
    changed
        Emitted when the lane becomes busy or idle.
    progressed
        Progress of the running job.
    broken
        A job raised what is no error of the engine; the exception is raised right after.
    """

    changed = Signal()
    progressed = Signal(object)
    broken = Signal(object)
    _arrived = Signal(object)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"litesam-{name}")
        self._generation = 0
        self._running: _Task | None = None
        self._waiting: _Task | None = None
        self._closed = False
        self._took = 0.0
        self._waited_in_vain = False
        self._arrived.connect(self._deliver)

    @property
    def busy(self) -> bool:
        """Whether a job runs, or waits for one that is stopping, whose reply is still wanted."""
        task = self._running
        return task is not None and (not task.stop.is_set() or self._waiting is not None)

    @property
    def idle(self) -> bool:
        """Whether no job runs at all, wanted or not."""
        return self._running is None

    def submit(
        self,
        job: Job,
        on_done: Callable[[Any], None],
        on_error: Callable[[LiteSamError], None],
        *,
        interrupt: bool = False,
    ) -> int:
        """Run a job after the one that runs now, in place of any that waits.

        Parameters
        ----------
        job
            Called in the worker thread. It must not hold the controller, the viewer or a layer.
        on_done, on_error
            Called in the GUI thread with the result or the engine's error; not at all if the job is
            overtaken by another or cancelled. Any other exception is a bug and raised in the GUI
            thread.
        interrupt
            Ask the running job to stop; otherwise it goes on (its work, such as an embedding, is of
            use) but its reply is dropped.

        Returns
        -------
        int
            Generation number of the job.
        """
        self._generation += 1
        task = _Task(self._generation, job, on_done, on_error)
        if self._closed:
            return task.generation
        if self._running is None:
            self._start(task)
        else:
            self._waiting = task
            if interrupt:
                self._running.stop.set()
            self.changed.emit()
        return task.generation

    def meet(self, seconds: float) -> None:
        """Wait a moment for the reply of the job that runs, if the job before was as short.

        The window stands still meanwhile; in return what was asked and its answer are drawn at
        once, which takes half as long as one after the other. How short a job was is told by the
        processor time of its thread: one that was not waited for takes much longer beside the
        drawing, and no job would be waited for again. After a wait in vain, the next job is not
        waited for.
        """
        task, vain = self._running, self._waited_in_vain
        if task is None or self._waiting is not None or self._took > seconds:
            return
        self._waited_in_vain = False
        if vain:
            return
        if task.ended.wait(seconds) and task.last is not None:
            self._deliver(task.last)
        else:
            self._waited_in_vain = True

    def drop(self) -> None:
        """Forget the waiting job and the reply of the running one, but let it finish its work."""
        self._generation += 1
        self._waiting = None

    def cancel(self) -> None:
        """Ask the running job to stop and forget the waiting one; neither replies."""
        self.drop()
        if self._running is not None:
            self._running.stop.set()
            self.changed.emit()

    def close(self) -> None:
        """Cancel and take no more jobs. Returns at once: the thread ends after its current step."""
        self._closed = True
        self.drop()
        if self._running is not None:
            self._running.stop.set()
            # The worker still holds this object; it must not hold the controller through the
            # callbacks.
            self._running.on_done = self._running.on_error = _ignore
            self._running = None
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, task: _Task) -> None:
        self._running = task
        self._pool.submit(self._run, task)
        self.changed.emit()

    def _run(self, task: _Task) -> None:
        """Body of the worker thread."""
        stop, began = task.stop, time.thread_time()

        def tell(kind: str, value: Any) -> None:
            message = _Message(task.generation, kind, value)
            if kind != "progress":
                task.last, task.seconds = message, time.thread_time() - began
                task.ended.set()
            if not self._closed:
                self._arrived.emit(message)

        def on_progress(progress: Progress) -> None:
            if not stop.is_set():
                tell("progress", progress)

        if stop.is_set():
            tell("cancelled", None)
            return
        try:
            result = task.job(JobContext(on_progress, stop.is_set))
        except Cancelled:
            tell("cancelled", None)
        except LiteSamError as error:
            tell("error", error)
        except BaseException as error:
            # Not swallowed: it is raised again in the GUI thread, where it is reported.
            tell("bug", error)
        else:
            tell("done", result)

    @Slot(object)  # type: ignore[untyped-decorator]
    def _deliver(self, message: _Message) -> None:
        """Receive a message in the GUI thread."""
        task = self._running
        if self._closed or task is None or task.generation != message.generation:
            return
        if message.kind == "progress":
            if not task.stop.is_set():
                self.progressed.emit(message.value)
            return
        self._running = None
        self._took = task.seconds
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._start(waiting)
        wanted = message.generation == self._generation and not task.stop.is_set()
        try:
            if message.kind == "bug":
                self.broken.emit(message.value)
                raise message.value
            if wanted and message.kind == "done":
                task.on_done(message.value)
            elif wanted and message.kind == "error":
                task.on_error(message.value)
        finally:
            self.changed.emit()


def _ignore(_value: Any) -> None:
    """Take a reply that nobody wants."""
