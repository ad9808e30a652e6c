"""Who does the blocks: this thread, threads or processes; `cluster` has the workers of dask.

An executor is told about a job once and then does blocks of one stage after the other, in any
order. Only few blocks are handed out ahead, so a job of millions of blocks costs no memory here,
and a worker that joins late gets its share.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from litesam.errors import ConfigError, JobError
from litesam.volume.stages import Work, forget, prepare, run_block, stop_when

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from litesam.volume.stages import Outcome

    Done = tuple[int, Outcome]

#: Blocks handed out for each worker: the one that it does and the next one.
BLOCKS_AHEAD = 2
#: Longest pause after which an executor looks whether the run was cancelled, seconds.
PATIENCE_S = 0.2


class Session(Protocol):
    """An executor that was told about one job."""

    def run(
        self, stage: str, numbers: Iterable[int], check_cancelled: Callable[[], None]
    ) -> Iterator[Done]:
        """Do blocks of one stage; gives number and outcome of each as soon as it is finished.

        Raises
        ------
        LiteSamError, OSError
            What the first block that failed raised. Blocks that were handed out are finished, or
            given up, before.
        JobError
            If a worker died.
        """
        ...


class Executor(Protocol):
    """What `litesam.label_volume` takes as ``executor``."""

    @property
    def workers(self) -> int:
        """How many blocks are done at the same time; 0: not known before."""
        ...

    @property
    def in_process(self) -> bool:
        """Whether blocks are done in this process, with its model."""
        ...

    def open(self, work: Work) -> Any:
        """Tell the workers about a job: a context manager that gives a `Session`."""
        ...


# ----------------------------------------------------------------------------------- this process


class InlineExecutor:
    """One block after the other, in the thread that calls."""

    workers = 1
    in_process = True

    @contextmanager
    def open(self, work: Work) -> Iterator[Session]:
        """Tell this process about a job."""
        prepare(work)
        try:
            yield _Inline(work.folder)
        finally:
            forget(work.folder)


class _Inline:
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def run(
        self, stage: str, numbers: Iterable[int], check_cancelled: Callable[[], None]
    ) -> Iterator[Done]:
        def stopped() -> bool:
            check_cancelled()
            return False

        stop_when(self._folder, stopped)
        for number in numbers:
            check_cancelled()
            yield run_block(self._folder, stage, number)


class ThreadExecutor:
    """Threads of this process, which share one model.

    Parameters
    ----------
    workers
        Number of threads.
    """

    in_process = True

    def __init__(self, workers: int = 2) -> None:
        self.workers = checked_workers(workers)

    @contextmanager
    def open(self, work: Work) -> Iterator[Session]:
        """Tell this process about a job."""
        prepare(work)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="litesam-block")
        try:
            yield _Pool(pool, work.folder, self.workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            forget(work.folder)


class ProcessExecutor:
    """Processes of this computer; each loads the model once.

    Parameters
    ----------
    workers
        Number of processes.
    threads
        Threads of the network in each; None: what ``OMP_NUM_THREADS`` says, or the processors,
        shared out.
    """

    in_process = False

    def __init__(self, workers: int = 2, threads: int | None = None) -> None:
        self.workers = checked_workers(workers)
        said = os.environ.get("OMP_NUM_THREADS", "")
        shared = max(1, (os.cpu_count() or 1) // self.workers)
        self.threads = threads or (int(said) if said.isdigit() and int(said) else shared)

    @contextmanager
    def open(self, work: Work) -> Iterator[Session]:
        """Start the processes."""
        pool = ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_process,
            initargs=(work, self.threads),
        )
        try:
            yield _Pool(pool, work.folder, self.workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_process(work: Work, threads: int) -> None:
    """First call in a worker process."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the run, which tells us to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    prepare(work)


def _end_with_parent() -> None:
    """A worker whose run was killed does not wait for ever for more to do."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Pool:
    """A pool of `concurrent.futures`."""

    def __init__(
        self, pool: ThreadPoolExecutor | ProcessPoolExecutor, folder: str, workers: int
    ) -> None:
        self._pool, self._folder, self._workers = pool, folder, workers

    def run(
        self, stage: str, numbers: Iterable[int], check_cancelled: Callable[[], None]
    ) -> Iterator[Done]:
        waiting = iter(numbers)
        running: set[Future[Done]] = set()
        while True:
            check_cancelled()
            try:
                for number in islice(waiting, max(0, BLOCKS_AHEAD * self._workers - len(running))):
                    running.add(self._pool.submit(run_block, self._folder, stage, number))
                if not running:
                    return
                done, running = wait(running, PATIENCE_S, FIRST_COMPLETED)
                for future in done:
                    yield future.result()
            except BrokenProcessPool as error:
                raise JobError(
                    "A worker process died: it was killed, or the memory did not suffice (then "
                    "take fewer workers or smaller blocks)."
                ) from error


def checked_workers(workers: int) -> int:
    """Return a number of workers that can be had.

    Raises
    ------
    ConfigError
        If it is none.
    """
    if workers < 1:
        raise ConfigError(f"{workers} workers can do nothing; take at least 1.")
    return workers
