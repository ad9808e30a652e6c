"""Jobs that survive: kill, full disk, damaged image, dead worker, two runs at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import litesam
from engine.volume_scenes import OPTIONS, files_of, predictor, read_labels, small_volume
from litesam.errors import JobError, ReadError, WriteError
from litesam.types import LinkConfig
from litesam.volume import ProcessExecutor
from litesam.volume.folder import JobFolder

TESTS = Path(__file__).parents[1]

#: Labels image.zarr in processes of their own, one after the other, each killed without any notice
#: when the progress says so; with "full" no file may grow from then on, as on a disk that is full.
PROGRAM = """
import json, os, resource, signal, sys
sys.path.insert(0, sys.argv[1])
given = json.loads(sys.argv[2])
import litesam
from engine.volume_scenes import OPTIONS, predictor
from litesam.volume import ProcessExecutor
from litesam.volume.folder import JobFolder

def label(when):
    def on_progress(progress):
        if when and when in progress.message:
            if given["full"]:
                resource.setrlimit(resource.RLIMIT_FSIZE, (40, resource.RLIM_INFINITY))
            else:
                os.kill(os.getpid(), signal.SIGKILL)
    executor = ProcessExecutor(given["processes"]) if given["processes"] else None
    result = litesam.label_volume(
        given["source"], given["target"], predictor(), executor, axes="ZYX",
        block_px=64, halo_px=16, on_progress=on_progress, ome_zarr=given["ome_zarr"], **OPTIONS,
    )
    print(json.dumps({"before": result.blocks_before, "objects": result.objects}), flush=True)

def main():
    for when in given["when"]:
        child = os.fork() if len(given["when"]) > 1 else 0
        if child:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        try:
            label(when)
        except litesam.LiteSamError as error:
            print(type(error).__name__, error, flush=True)
        if len(given["when"]) > 1:
            os._exit(0)

if __name__ == "__main__":
    main()
"""


def command(tmp_path: Path, name: str, *when: str, **options: Any) -> list[str]:
    (tmp_path / "program.py").write_text(PROGRAM)
    given = {
        "source": str(tmp_path / "image.zarr"),
        "target": str(tmp_path / name),
        "when": when,
        "full": False,
        "processes": 0,
        "ome_zarr": "0.5",
        **options,
    }
    return [sys.executable, str(tmp_path / "program.py"), str(TESTS), json.dumps(given)]


def run(tmp_path: Path, name: str, *when: str, **options: Any) -> list[str]:
    """Lines that the program wrote."""
    done = subprocess.run(
        command(tmp_path, name, *when, **options),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Four slices in blocks of 64 px: every stage has something to do."""
    pixels, _ = small_volume()
    path = tmp_path / "image.zarr"
    array = zarr.create_array(path, shape=(4, 96, 80), chunks=(1, 96, 80), dtype=np.uint8)
    array[...] = pixels[2:6]
    return path


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_kills_anywhere_change_nothing(tmp_path: Path, image: Path, version: str) -> None:
    """Killed in every stage, some of them twice, the result is that of a run without a kill."""
    kills = (
        "5 of 16 labelled",
        "11 of 16 labelled",
        "2 of 4 seams",
        "7 of 16 blocks joined",
        "3 of 4 planes compared",
        "3 of 4 planes linked",
        "4 of 16 written",
        "15 of 16 written",
    )
    (tmp_path / "killed").mkdir()
    *died, last, code = run(tmp_path, "killed/labels.zarr", *kills, "", ome_zarr=version)
    assert died == [str(-signal.SIGKILL)] * len(kills)
    assert code == "0"
    options: dict[str, Any] = {**OPTIONS, "axes": "ZYX", "block_px": 64, "halo_px": 16}
    options["ome_zarr"] = version
    whole = litesam.label_volume(image, tmp_path / "labels.zarr", predictor(), **options)
    assert json.loads(last) == {"before": 16, "objects": whole.objects}
    assert files_of(tmp_path / "killed" / "labels.zarr") == files_of(tmp_path / "labels.zarr")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["labels.zarr"]


def test_a_full_disk_stops_the_work_and_room_continues_it(tmp_path: Path, image: Path) -> None:
    """Full while blocks are labelled, full again while the result is written."""
    lines = run(tmp_path, "labels.zarr", "6 of 16 labelled", "6 of 16 written", full=True)
    assert lines[1::2] == ["0", "0"]
    for message, blocks in zip(lines[::2], (6, 16), strict=True):
        assert message.startswith("WriteError")
        assert f"{blocks} of 16 blocks are finished and safe in" in message
        assert "make room (or mend the drive); the same command goes on from there" in message
    assert not (tmp_path / "labels.zarr").exists()
    options: dict[str, Any] = {**OPTIONS, "axes": "ZYX", "block_px": 64, "halo_px": 16}
    litesam.label_volume(image, tmp_path / "labels.zarr", predictor(), **options)
    litesam.label_volume(image, tmp_path / "other.zarr", predictor(), **options)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "labels.zarr"), read_labels(tmp_path / "other.zarr")
    )


def test_a_damaged_chunk_is_named_and_the_rest_is_safe(tmp_path: Path, image: Path) -> None:
    chunk = image / "c" / "2" / "0" / "0"
    content = chunk.read_bytes()
    limits = {**OPTIONS, "block_px": 64, "halo_px": 16, "axes": "ZYX"}
    chunk.write_bytes(content[:20])
    with pytest.raises(ReadError, match="z = 2"):  # found by the look at the image, before the work
        litesam.label_volume(image, tmp_path / "labels.zarr", predictor(), **limits)
    assert not (tmp_path / "labels.zarr.job").exists()
    chunk.write_bytes(content)

    def damage(progress: Any) -> None:
        if progress.done >= 300:
            chunk.write_bytes(content[:20])

    with pytest.raises(JobError, match=r"plane z = 2 cannot be read.*\d+ of 16 blocks.*mend"):
        litesam.label_volume(
            image, tmp_path / "labels.zarr", predictor(), on_progress=damage, **limits
        )
    chunk.write_bytes(content)
    result = litesam.label_volume(image, tmp_path / "labels.zarr", predictor(), **limits)
    assert result.blocks_before == 8
    litesam.label_volume(image, tmp_path / "other.zarr", predictor(), **limits)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "labels.zarr"), read_labels(tmp_path / "other.zarr")
    )


@pytest.mark.parametrize("how", ["overwritten", "cut off"])
def test_a_damaged_tile_of_a_tiff_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Of a large compressed one, which is read tile by tile: in the middle of the work."""
    monkeypatch.setattr("litesam.io.readers.LAZY_BYTES", 0)
    pixels = np.random.default_rng(1).integers(0, 60, (4, 256, 256)).astype(np.uint8)
    pixels[:, 30:40, 50:60] = 200
    path = tmp_path / "image.tif"
    about = {"tile": (128, 128), "photometric": "minisblack", "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(path, pixels, compression="zlib", **about)
    with tifffile.TiffFile(path) as file:
        start = file.series[0].pages[3].dataoffsets[0]
    content = path.read_bytes()

    def damage(progress: Any) -> None:
        if progress.message.startswith("1 of 4 labelled"):
            with path.open("r+b") as opened:
                opened.seek(start + 20)
                opened.write(b"\xff" * 500) if how == "overwritten" else opened.truncate()

    target = tmp_path / "labels.zarr"
    options: dict[str, Any] = {**OPTIONS, "axes": "ZYX"}
    with pytest.raises(JobError, match=r"plane z = 3 cannot be read.*3 of 4 blocks.*mend"):
        litesam.label_volume(path, target, predictor(), on_progress=damage, **options)
    path.write_bytes(content)
    result = litesam.label_volume(path, target, predictor(), **options)
    assert (result.blocks_before, result.objects) == (3, 1)


def test_own_labels_that_are_damaged_are_made_again(tmp_path: Path, image: Path) -> None:
    limits: dict[str, Any] = {**OPTIONS, "axes": "ZYX"}
    target = tmp_path / "labels.zarr"
    job = tmp_path / "labels.zarr.job"

    def damage(progress: Any) -> None:
        if progress.done == 400:  # all four planes are labelled
            part = job / "planes.zarr" / "c" / "1" / "0" / "0"
            part.write_bytes(part.read_bytes()[:30])

    with pytest.raises(JobError, match="will be done again"):
        litesam.label_volume(image, target, predictor(), on_progress=damage, **limits)
    result = litesam.label_volume(image, target, predictor(), **limits)
    assert result.blocks_before == 3


def test_two_runs_of_one_output_refuse_each_other(tmp_path: Path, image: Path) -> None:
    target = tmp_path / "labels.zarr"
    refused: list[str] = []

    def second(progress: Any) -> None:
        if progress.done == 0 and not refused:
            with pytest.raises(JobError, match=r"Another run is writing .*labels.zarr") as error:
                litesam.label_volume(image, target, predictor(), axes="ZYX", **OPTIONS)
            refused.append(str(error.value))

    litesam.label_volume(image, target, predictor(), axes="ZYX", on_progress=second, **OPTIONS)
    assert refused
    assert target.exists()


def test_another_process_is_refused_as_well(tmp_path: Path, image: Path) -> None:
    told: list[str] = []

    def second(progress: Any) -> None:
        if not told:
            told.extend(run(tmp_path, "labels.zarr", ""))

    litesam.label_volume(
        image, tmp_path / "labels.zarr", predictor(), axes="ZYX", on_progress=second, **OPTIONS
    )
    assert told[0].startswith("JobError Another run is writing")
    assert (tmp_path / "labels.zarr").exists()


@pytest.mark.parametrize("what", ["image.zarr", "out"])
def test_a_drive_that_vanishes_stops_the_work(tmp_path: Path, image: Path, what: str) -> None:
    """Of the image (whose chunks would read as empty), or of the output; it comes back later."""
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "labels.zarr"
    options: dict[str, Any] = {**OPTIONS, "axes": "ZYX"}

    def vanish(progress: Any) -> None:
        if progress.message.startswith("2 of 4 labelled"):
            (tmp_path / what).rename(tmp_path / "away")

    kind = JobError if what == "image.zarr" else WriteError
    with pytest.raises(kind, match=r"2 of 4 blocks are finished and safe.*same command goes on"):
        litesam.label_volume(image, target, predictor(), on_progress=vanish, **options)
    shutil.rmtree(tmp_path / what, ignore_errors=True)  # what was written where the drive was
    (tmp_path / "away").rename(tmp_path / what)
    result = litesam.label_volume(image, target, predictor(), **options)
    assert result.blocks_before == 2
    litesam.label_volume(image, tmp_path / "other.zarr", predictor(), **options)
    np.testing.assert_array_equal(read_labels(target), read_labels(tmp_path / "other.zarr"))


def test_a_kill_after_the_last_step_leaves_nothing_behind(tmp_path: Path, image: Path) -> None:
    target = tmp_path / "labels.zarr"
    result = litesam.label_volume(image, target, predictor(), axes="ZYX", **OPTIONS)
    job = tmp_path / "labels.zarr.job"
    job.mkdir()
    about = {"part": "result.zarr", "axes": "ZYX", "shape": [4, 96, 80], "objects": result.objects}
    (job / "finished.json").write_text(json.dumps({**about, "planes": 4, "blocks": 4}))
    again = litesam.label_volume(image, target, predictor(), axes="ZYX", **OPTIONS)
    assert (again.objects, again.shape) == (result.objects, result.shape)
    assert not job.exists()


def test_a_result_that_was_taken_away_is_written_again(tmp_path: Path, image: Path) -> None:
    """Killed after the result was in its place; then somebody deleted it."""
    target, job = tmp_path / "labels.zarr", tmp_path / "labels.zarr.job"
    options: dict[str, Any] = {**OPTIONS, "axes": "ZYX"}

    def keep(progress: Any) -> None:
        if progress.done == progress.total:
            shutil.copytree(job, tmp_path / "kept")

    litesam.label_volume(image, target, predictor(), on_progress=keep, **options)
    expected = read_labels(target)
    shutil.rmtree(target)
    (tmp_path / "kept").rename(job)
    shutil.rmtree(job / "result.zarr")
    litesam.label_volume(image, target, predictor(), **options)
    assert expected.any()
    np.testing.assert_array_equal(read_labels(target), expected)


def test_the_image_is_never_the_output(tmp_path: Path, image: Path) -> None:
    with pytest.raises(WriteError, match="is the image itself"):
        litesam.label_volume(image, image, predictor(), axes="ZYX", overwrite=True, **OPTIONS)


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path, image: Path) -> None:
    with pytest.raises(WriteError, match="does not exist"):
        litesam.label_volume(image, tmp_path / "no" / "labels.zarr", predictor(), **OPTIONS)
    (tmp_path / "labels.zarr.job").write_text("a file")
    with pytest.raises(WriteError, match="cannot be made"):
        litesam.label_volume(image, tmp_path / "labels.zarr", predictor(), axes="ZYX", **OPTIONS)


def test_workers_end_when_the_run_is_killed(tmp_path: Path, image: Path) -> None:
    """No process is left behind that holds the model in memory for ever."""
    process = subprocess.Popen(
        command(tmp_path, "labels.zarr", "3 of 16 labelled", processes=1), start_new_session=True
    )
    assert process.wait(timeout=120) == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while _members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _members(process.pid)


def _members(group: int) -> bool:
    """Whether a process group has members."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_dead_worker_process_is_explained(tmp_path: Path, image: Path) -> None:
    options: dict[str, Any] = {**OPTIONS, "axes": "ZYX", "block_px": 64, "halo_px": 16}
    target = tmp_path / "labels.zarr"
    with pytest.raises(
        JobError, match=r"A worker process died.*of 16 blocks are finished and safe"
    ):
        litesam.label_volume(image, target, DeadlyPredictor(), ProcessExecutor(1, 1), **options)
    result = litesam.label_volume(image, target, predictor(), **options)
    assert result.blocks_before >= 2
    litesam.label_volume(image, tmp_path / "other.zarr", predictor(), **options)
    np.testing.assert_array_equal(read_labels(target), read_labels(tmp_path / "other.zarr"))


class DeadlyPredictor(type(predictor())):  # type: ignore[misc]
    """Is killed, as by a system without memory, with the fourth region that it sees."""

    def encode(self, rgb: Any, origin_yx: tuple[int, int] = (0, 0)) -> Any:
        if self.encoded == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(rgb, origin_yx)


def test_the_linker_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from litesam.merge import SliceLinker
    from litesam.volume import linking

    pixels, _ = small_volume()
    options: dict[str, Any] = {**OPTIONS, "axes": "ZYX", "link": LinkConfig(max_gap=2)}
    litesam.label_volume(pixels, tmp_path / "whole.zarr", predictor(), **options)
    monkeypatch.setattr(linking, "_PLANES_PER_CHECKPOINT", 3)
    added: list[int] = []
    add = SliceLinker.add_counted

    def note(self: SliceLinker, areas: Any, overlaps: Any) -> None:
        added.append(len(self))
        add(self, areas, overlaps)

    monkeypatch.setattr(SliceLinker, "add_counted", note)
    with pytest.raises(KeyboardInterrupt):
        litesam.label_volume(
            pixels,
            tmp_path / "parts.zarr",
            predictor(),
            on_progress=lambda p: _interrupt() if "8 of 12 planes linked" in p.message else None,
            **options,
        )
    added.clear()
    litesam.label_volume(pixels, tmp_path / "parts.zarr", predictor(), **options)
    assert added == [6, 7, 8, 9, 10, 11]
    np.testing.assert_array_equal(
        read_labels(tmp_path / "whole.zarr"), read_labels(tmp_path / "parts.zarr")
    )


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_marks_on_their_way_do_not_count(tmp_path: Path) -> None:
    """A run that looks while workers write sees the finished marks alone."""
    folder = JobFolder(tmp_path)
    folder.mark("label", 7, {})
    mark = next((tmp_path / "done").rglob("*.json"))
    mark.with_name(f".0123abcd.part-{mark.name}").write_text("{}")
    mark.with_name("0000008.json").touch()  # a crash emptied it
    assert folder.finished("label") == {7}
