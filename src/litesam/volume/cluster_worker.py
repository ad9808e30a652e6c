"""What tells every worker of a dask cluster about a job, also one that joins late or restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin

from litesam.volume.stages import forget, prepare

if TYPE_CHECKING:
    from litesam.volume.stages import Work


class JobPlugin(WorkerPlugin):  # type: ignore[misc]  # dask has no types
    """Tells a worker about a job.

    Parameters
    ----------
    work
        The job.
    """

    def __init__(self, work: Work) -> None:
        self.work = work

    def setup(self, worker: Any) -> None:
        """Begin: the worker has joined."""
        prepare(self.work)

    def teardown(self, worker: Any) -> None:
        """End: the job is done, or the worker leaves."""
        forget(self.work.folder)
