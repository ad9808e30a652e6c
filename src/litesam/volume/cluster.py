"""The workers of a dask cluster do the blocks; needs the extra ``napari-litesam[cluster]``."""

from __future__ import annotations

import contextlib
import queue
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from litesam.errors import ConfigError, JobError
from litesam.volume.executors import BLOCKS_AHEAD, PATIENCE_S, checked_workers
from litesam.volume.stages import run_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from litesam.volume.executors import Done, Session
    from litesam.volume.stages import Work


class DaskExecutor:
    """The workers of a dask cluster, wherever they run; each process loads the model once.

    The folder of the output, and the image, must be visible to all workers under the same path.
    Workers may join and leave while the job runs: the blocks of one that dies are given to others.

    Parameters
    ----------
    cluster
        Address of a scheduler (``tcp://…``), a `dask.distributed.Client`, or a number, also as
        ``local:4``: so many worker processes on this computer.
    patience_s
        How long to wait for the first worker.

    Raises
    ------
    ConfigError
        If dask.distributed is not installed, or the number is none.
    """

    in_process = False

    def __init__(self, cluster: Any, patience_s: float = 60.0) -> None:
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                "A cluster needs dask.distributed; install it with: "
                'pip install "napari-litesam[cluster]".'
            ) from error
        self._cluster = _number_of(cluster) if isinstance(cluster, str) else cluster
        self._patience_s = patience_s

    @property
    def workers(self) -> int:
        """Number of workers, 0 if it is not known before."""
        if isinstance(self._cluster, int):
            return self._cluster
        return 0 if isinstance(self._cluster, str) else len(self._cluster.nthreads())

    @contextmanager
    def open(self, work: Work) -> Iterator[Session]:
        """Connect, and tell all workers, those that join later too."""
        from distributed import Client, LocalCluster

        from litesam.volume.cluster_worker import JobPlugin

        own: list[Any] = []
        try:
            if isinstance(self._cluster, int):
                workers = checked_workers(self._cluster)
                own = [
                    LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
                ]
            try:
                client = self._connect(own, Client)
                if client is not self._cluster:
                    own.append(client)
                client.wait_for_workers(1, timeout=self._patience_s)
            except (OSError, TimeoutError) as error:
                raise JobError(
                    f"No worker of the cluster {self._cluster} answered within "
                    f"{self._patience_s:g} s ({error or type(error).__name__}); check the address "
                    "of the scheduler and that workers are running."
                ) from error
            name = f"litesam-{work.folder}"
            client.register_plugin(JobPlugin(work), name=name)
            try:
                yield _Dask(client, work.folder)
            finally:
                client.unregister_worker_plugin(name)
        finally:
            for thing in reversed(own):
                thing.close()

    def _connect(self, own: list[Any], client: Any) -> Any:
        if own:
            return client(own[0], set_as_default=False)
        if isinstance(self._cluster, str):
            return client(self._cluster, timeout=self._patience_s, set_as_default=False)
        return self._cluster


def _number_of(address: str) -> str | int:
    """Number of workers that ``local:N`` asks for; other addresses stay as they are."""
    kind, _, count = address.partition(":")
    if kind != "local":
        return address
    if not count.isdecimal():
        raise ConfigError(f"{address} names no number of workers; write local:2 for two.")
    return checked_workers(int(count))


class _Dask:
    """A dask client whose workers know the job."""

    def __init__(self, client: Any, folder: str) -> None:
        self._client, self._folder = client, folder

    def run(
        self, stage: str, numbers: Iterable[int], check_cancelled: Callable[[], None]
    ) -> Iterator[Done]:
        from distributed import KilledWorker

        waiting = iter(numbers)
        running: set[Any] = set()
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        looked, threads = 0.0, 1
        try:
            while True:
                check_cancelled()
                if time.monotonic() - looked > 1:  # workers come and go
                    threads = max(1, sum(self._client.nthreads().values()))
                    looked = time.monotonic()
                for number in islice(waiting, max(0, BLOCKS_AHEAD * threads - len(running))):
                    future = self._client.submit(run_block, self._folder, stage, number, pure=False)
                    running.add(future)
                    future.add_done_callback(done.put)
                if not running:
                    return
                with contextlib.suppress(queue.Empty):
                    future = done.get(timeout=PATIENCE_S)
                    running.remove(future)
                    yield future.result()
        except KilledWorker as error:
            raise JobError(
                "Several workers of the cluster died with the same block, mostly for want of "
                f"memory; give them more, or take smaller blocks ({error})."
            ) from error
        finally:
            self._client.cancel(list(running))
