"""Who does the blocks does not change the result: threads, processes, a real cluster of dask."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import litesam
from engine.volume_scenes import OPTIONS, ExactPredictor, files_of, small_volume
from litesam.errors import Cancelled, ConfigError, JobError
from litesam.types import LinkConfig
from litesam.volume import (
    DaskExecutor,
    ProcessExecutor,
    ThreadExecutor,
    label_volume,
    measure_tracks,
    read_tracks,
)
from litesam.volume.folder import JobFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from litesam.types import Embedding, Progress
    from litesam.volume import Executor, VolumeResult

BLOCKS: dict[str, Any] = {**OPTIONS, "axes": "ZYX", "block_px": 64, "halo_px": 16}


class SlowPredictor(ExactPredictor):
    """Takes its time, so that something can happen meanwhile."""

    def encode(self, rgb: Any, origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
        time.sleep(0.15)
        return super().encode(rgb, origin_yx)


def save_image(folder: Path) -> Path:
    """Four slices in four blocks each."""
    np.save(folder / "image.npy", small_volume()[0][2:6])
    return folder / "image.npy"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save_image(tmp_path)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one block after the other gives."""
    folder = tmp_path_factory.mktemp("inline")
    label_volume(save_image(folder), folder / "labels.zarr", ExactPredictor(), **BLOCKS)
    return files_of(folder / "labels.zarr")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two processes; the scheduler lives in this one."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


def label(image: Path, executor: Executor, **options: Any) -> VolumeResult:
    target = image.with_name("labels.zarr")
    return label_volume(image, target, SlowPredictor(), executor, **{**BLOCKS, **options})


def workers_of(image: Path) -> set[str]:
    """Who has labelled blocks so far."""
    folder = JobFolder(image.with_name("labels.zarr.job"))
    return {folder.about("label", number)["worker"] for number in folder.finished("label")}


def result_of(image: Path) -> dict[str, bytes]:
    return files_of(image.with_name("labels.zarr"))


def test_threads_give_the_same(image: Path, expected: dict[str, bytes]) -> None:
    label(image, ThreadExecutor(3))
    assert result_of(image) == expected


def test_processes_give_the_same(image: Path, expected: dict[str, bytes]) -> None:
    taking_part: set[str] = set()
    label(
        image,
        ProcessExecutor(2, threads=1),
        on_progress=lambda progress: taking_part.update(workers_of(image)),
    )
    assert len(taking_part) == 2
    assert result_of(image) == expected


def test_a_cluster_gives_the_same(image: Path, expected: dict[str, bytes], cluster: Any) -> None:
    label(image, DaskExecutor(cluster.scheduler_address))
    assert result_of(image) == expected


@pytest.mark.parametrize("axes", ["TYX", "TZYX"])
def test_tracks_of_a_cluster_are_the_same(tmp_path: Path, cluster: Any, axes: str) -> None:
    """Objects that jump further than they are wide: linked by centres, or by pixels of planes."""
    volume = np.pad(small_volume()[0][2:6], ((0, 0), (0, 0), (0, 24)), constant_values=20)
    movie = np.stack([np.roll(volume, 9 * time, axis=2) for time in range(3)])
    np.save(tmp_path / "movie.npy", movie if axes == "TZYX" else movie.max(axis=1))
    options: dict[str, Any] = {**BLOCKS, "axes": axes, "time_axis": "tracks"}
    options["link"] = LinkConfig(max_shift_px=12)
    found = {}
    for name, executor in (("a", DaskExecutor(cluster.scheduler_address)), ("b", None)):
        (tmp_path / name).mkdir()
        result = label_volume(
            tmp_path / "movie.npy",
            tmp_path / name / "labels.zarr",
            ExactPredictor(),
            executor,
            tracks=tmp_path / name / "tracks.csv",
            **options,
        )
        found[name] = files_of(tmp_path / name)
    assert found["a"] == found["b"]
    tracks = read_tracks(result.path)
    assert tracks.axes == axes
    assert len(tracks.data) == 3 * result.objects > 0
    labels = zarr.open_array(result.path / "0", mode="r")
    measured = measure_tracks(labels, axes)
    np.testing.assert_array_equal(tracks.data, measured.data)
    np.testing.assert_array_equal(tracks.areas, measured.areas)


def test_a_worker_of_a_cluster_that_dies_is_replaced(
    image: Path, expected: dict[str, bytes], cluster: Any
) -> None:
    """Killed without notice in mid-job; its block is done by another, the result is the same."""
    from distributed import Client

    killed: list[int] = []
    with Client(cluster, set_as_default=False) as client:
        first = next(iter(client.run(os.getpid).values()))

        def kill(progress: Progress) -> None:
            if progress.done >= 500 and not killed:
                os.kill(first, signal.SIGKILL)
                killed.append(first)

        label(image, DaskExecutor(client), on_progress=kill)
        assert killed
        assert client.status == "running"  # a client that was given is not closed
    assert result_of(image) == expected


def test_a_worker_that_joins_late_takes_part(
    image: Path, expected: dict[str, bytes], cluster: Any
) -> None:
    from distributed import Client

    taking_part: set[str] = set()

    def grow(progress: Progress) -> None:
        if progress.message.startswith("2 of"):
            cluster.scale(3)
            deadline = time.monotonic() + 60
            while sum(client.run(knows_a_job).values()) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
        taking_part.update(workers_of(image))

    with Client(cluster, set_as_default=False) as client:
        label(image, DaskExecutor(cluster.scheduler_address), on_progress=grow)
    assert len(taking_part) == 3
    assert result_of(image) == expected


def knows_a_job() -> bool:
    """Whether this worker was told about a job."""
    from litesam.volume import stages

    return bool(stages._jobs)


def test_a_cluster_stops_when_cancelled(image: Path, cluster: Any) -> None:
    seen: list[Progress] = []
    with pytest.raises(Cancelled, match="what is finished is kept"):
        label(
            image,
            DaskExecutor(cluster.scheduler_address),
            on_progress=seen.append,
            cancelled=lambda: len(seen) > 5,
        )
    assert 4 <= len(JobFolder(image.with_name("labels.zarr.job")).finished("label")) < 16


def test_workers_load_the_model_by_its_name(tmp_path: Path, cluster: Any) -> None:
    """The bundled model on two tiny slices: the same from the cluster as inline."""
    from litesam.io import read_image
    from litesam.samples import sample_path

    np.save(tmp_path / "nuclei.npy", np.asarray(read_image(sample_path("embryo")).array)[24:26])
    for name, executor in (("a", DaskExecutor(cluster.scheduler_address)), ("b", None)):
        (tmp_path / name).mkdir()
        litesam.label_volume(
            tmp_path / "nuclei.npy", tmp_path / name / "labels.zarr", executor=executor, axes="ZYX"
        )
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_every_worker_loads_the_model_once(tmp_path: Path, cluster: Any) -> None:
    """More blocks than workers, and no model more than workers."""
    from distributed import Client

    np.save(tmp_path / "image.npy", small_volume()[0][2:8])
    with Client(cluster, set_as_default=False) as client:
        client.run(count_loads)
        executor = DaskExecutor(client)
        label_volume(tmp_path / "image.npy", tmp_path / "l.zarr", executor=executor, axes="ZYX")
        loads, models = zip(*client.run(loads_and_models).values(), strict=True)
    assert max(loads) == 1
    assert len(loads) < 6
    assert set(models) == {0}  # none stays in memory when the job is done


def count_loads() -> None:
    """In a worker: count how often a model is loaded."""
    from litesam import predictors

    load = predictors.load_predictor
    predictors.loads = []

    def counted(*args: Any, **options: Any) -> Any:
        predictors.loads.append(args)
        return load(*args, **options)

    predictors.load_predictor = counted


def loads_and_models() -> tuple[int, int]:
    """In a worker: how often a model was loaded, and how many jobs hold one."""
    from litesam import predictors
    from litesam.volume import stages

    return len(predictors.loads), len(stages._jobs)


def test_a_cluster_that_adapts_itself(image: Path, expected: dict[str, bytes]) -> None:
    """As one of dask-jobqueue: it has no workers at first, and is given as its client."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0") as cluster:
        cluster.adapt(minimum=1, maximum=2)
        with cluster.get_client() as client:
            label(image, DaskExecutor(client))
    assert result_of(image) == expected


def test_what_goes_wrong_in_a_worker_is_explained(image: Path, cluster: Any) -> None:
    folder = image.with_name("labels.zarr.job")
    folder.mkdir()
    (folder / "weights").write_text("something else")
    with pytest.raises(JobError, match=r"weights of threshold are others.*0 of 16 blocks"):
        label(image, DaskExecutor(cluster.scheduler_address))


def test_threads_of_processes_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [ProcessExecutor(n).threads for n in (1, 3, 16)] == [8, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert ProcessExecutor(1).threads == 1
    assert ProcessExecutor(1, threads=4).threads == 4


def test_executors_that_cannot_be_are_refused(image: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ProcessExecutor(0)
    with pytest.raises(JobError, match=r"No worker of the cluster tcp://127.0.0.1:9 answered"):
        label(image, DaskExecutor("tcp://127.0.0.1:9", patience_s=1))
