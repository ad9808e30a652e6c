"""The zarr store keeps the contract, and survives what disks and processes do to it."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import store_processes
import zarr
from store_contract import StoreContract, assert_same, features_of, key_of

from litesam.errors import StoreError
from litesam.store import ZarrStore, default_cache_dir, zarr_store

if TYPE_CHECKING:
    from collections.abc import Iterator

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


class TestZarrStore(StoreContract):
    def make_store(self, folder: Path, max_bytes: int | None = None) -> ZarrStore:
        return ZarrStore(folder / "store", max_bytes)


@pytest.fixture
def store(tmp_path: Path) -> ZarrStore:
    return ZarrStore(tmp_path / "store")


def _entry_folder(store: ZarrStore, number: int = 1) -> Path:
    return store.path / key_of(number).digest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ----------------------------------------------------------------------------------------- format


def test_store_is_a_zarr_hierarchy_that_others_can_read(store: ZarrStore) -> None:
    features = {"image": np.random.default_rng(0).random((256, 32, 32), np.float32)}
    store.put(key_of(1), features)
    root = zarr.open_group(store.path, mode="r", zarr_format=3)
    assert dict(root.attrs)["litesam"]["kind"] == "embedding-store"
    entry = root[key_of(1).digest()]
    array = entry["image"]
    np.testing.assert_array_equal(array[...], features["image"])
    assert array.shards == (256, 32, 32)
    assert array.chunks == (256, 32, 32)
    assert "zstd" in repr(array.compressors)
    assert entry.attrs["litesam"]["key"]["content"] == "content 1"
    assert [name for name, _ in root.groups()] == [key_of(1).digest()]


def test_large_features_are_cut_into_chunks_of_one_shard(store: ZarrStore) -> None:
    store.put(key_of(1), {"image": np.zeros((256, 64, 64), np.float32)})
    array = zarr.open_group(_entry_folder(store), mode="r")["image"]
    assert array.chunks == (64, 64, 64)
    assert len(_files(_entry_folder(store) / "image" / "c")) == 1


def test_reopened_store_has_its_entries(store: ZarrStore) -> None:
    store.put(key_of(1), features_of(1))
    again = ZarrStore(store.path)
    assert_same(again.get(key_of(1)), features_of(1))
    assert again.keys() == [key_of(1)]


def test_bytes_are_those_of_the_files(store: ZarrStore) -> None:
    for number in range(3):
        store.put(key_of(number), features_of(number))
    files = [f for n in range(3) for f in _files(_entry_folder(store, n))]
    assert store.nbytes == sum(f.stat().st_size for f in files)


# ----------------------------------------------------------------------------------------- damage


def _assert_miss_and_removed(store: ZarrStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert store.get(key_of(1)) is None
    assert "damaged" in caplog.text
    assert not os.path.lexists(_entry_folder(store))
    assert len(store) == 0
    store.put(key_of(1), features_of(1))
    assert_same(store.get(key_of(1)), features_of(1))


def test_flipped_bit_in_any_file_is_a_miss(
    store: ZarrStore, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    store.put(key_of(1), features_of(1), {"frame": [1, 2]})
    names = [f.relative_to(_entry_folder(store)) for f in _files(_entry_folder(store))]
    assert len(names) == 3
    for name in names:
        size = (_entry_folder(store) / name).stat().st_size
        for position in {0, size - 1, *rng.integers(size, size=12).tolist()}:
            path = _entry_folder(store) / name
            content = bytearray(path.read_bytes())
            content[position % len(content)] ^= 1 << int(rng.integers(8))
            path.write_bytes(content)
            _assert_miss_and_removed(store, caplog)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_file_is_a_miss(
    store: ZarrStore, caplog: pytest.LogCaptureFixture, share: float
) -> None:
    store.put(key_of(1), features_of(1))
    for name in [f.relative_to(_entry_folder(store)) for f in _files(_entry_folder(store))]:
        path = _entry_folder(store) / name
        os.truncate(path, int(share * path.stat().st_size))
        _assert_miss_and_removed(store, caplog)


def test_missing_file_is_a_miss(store: ZarrStore, caplog: pytest.LogCaptureFixture) -> None:
    store.put(key_of(1), features_of(1))
    for name in [f.relative_to(_entry_folder(store)) for f in _files(_entry_folder(store))]:
        (_entry_folder(store) / name).unlink()
        _assert_miss_and_removed(store, caplog)


def test_added_file_is_a_miss(store: ZarrStore, caplog: pytest.LogCaptureFixture) -> None:
    store.put(key_of(1), features_of(1))
    (_entry_folder(store) / "image" / "c" / "1").write_bytes(b"x")
    _assert_miss_and_removed(store, caplog)


def test_empty_folder_is_a_miss(store: ZarrStore, caplog: pytest.LogCaptureFixture) -> None:
    _entry_folder(store).mkdir()
    assert key_of(1) not in store
    _assert_miss_and_removed(store, caplog)


def test_file_in_place_of_an_entry_is_a_miss(
    store: ZarrStore, caplog: pytest.LogCaptureFixture
) -> None:
    _entry_folder(store).write_bytes(b"not a folder")
    _assert_miss_and_removed(store, caplog)


def test_entry_of_another_key_is_a_miss(store: ZarrStore, caplog: pytest.LogCaptureFixture) -> None:
    store.put(key_of(2), features_of(2))
    _entry_folder(store, 2).rename(_entry_folder(store, 1))
    _assert_miss_and_removed(store, caplog)


@POSIX
def test_link_out_of_the_store_is_not_followed(
    store: ZarrStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(key_of(1), features_of(1))
    shard = next(p for p in _files(_entry_folder(store)) if p.name != "zarr.json")
    outside = tmp_path / "outside"
    outside.write_bytes(shard.read_bytes())
    shard.unlink()
    shard.symlink_to(outside)
    _assert_miss_and_removed(store, caplog)
    assert outside.exists()

    other = ZarrStore(tmp_path / "other")
    other.put(key_of(1), features_of(1))
    store.delete(key_of(1))
    _entry_folder(store).symlink_to(_entry_folder(other), target_is_directory=True)
    store.clear()
    assert_same(other.get(key_of(1)), features_of(1))


def test_damaged_entry_is_left_out_of_keys_and_pruned_first(store: ZarrStore) -> None:
    for number in (1, 2):
        store.put(key_of(number), features_of(number))
    (_entry_folder(store, 2) / "zarr.json").unlink()
    assert store.keys() == [key_of(1)]
    assert store.prune(store.nbytes - 1) == 1
    assert key_of(1) in store


def test_entry_of_another_format_is_a_miss(
    store: ZarrStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from litesam.store import entry_format

    with monkeypatch.context() as patch:
        patch.setattr(entry_format, "FORMAT_VERSION", 0)
        store.put(key_of(1), features_of(1))
    _assert_miss_and_removed(store, caplog)


# ------------------------------------------------------------------------------- killed processes


def _run(function: str, path: Path, *numbers: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, store_processes.__file__, function, str(path), *map(str, numbers)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@POSIX
@pytest.mark.parametrize("step", [0, 1, 2, 5, -1])
def test_process_killed_in_the_middle_of_a_write_leaves_nothing_or_all(
    store: ZarrStore, caplog: pytest.LogCaptureFixture, step: int
) -> None:
    result = _run("die_while_putting", store.path, step)
    assert result.returncode == -signal.SIGKILL, result.stderr
    leftovers = [p for p in store.path.iterdir() if p.name.startswith("tmp-")]
    with caplog.at_level(logging.WARNING):
        entry = store.get(key_of(1))
    assert caplog.text == ""
    if step < 0:  # killed after the rename
        assert_same(entry, features_of(1))
        assert leftovers == []
    else:
        assert entry is None
        assert len(leftovers) == 1
        assert len(_files(leftovers[0])) == min(step + 1, 3)
    ZarrStore(store.path)
    assert not [p for p in store.path.iterdir() if p.name.startswith("tmp-")]


@POSIX
def test_process_killed_at_any_moment_leaves_whole_entries_only(
    store: ZarrStore, caplog: pytest.LogCaptureFixture
) -> None:
    seen = 0
    for delay in (0.0, 0.013, 0.031, 0.057):
        process = subprocess.Popen(
            [sys.executable, store_processes.__file__, "put_forever", str(store.path)]
        )
        try:
            deadline = time.monotonic() + 60
            while len(store) == seen and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(delay)
        finally:
            process.kill()
            process.wait()
        again = ZarrStore(store.path)
        with caplog.at_level(logging.WARNING):
            for number in range(8):
                entry = again.get(key_of(number))
                if entry is not None:
                    assert_same(entry, features_of(number, size=200_000))
        seen = len(again)
    assert seen > 0
    assert caplog.text == ""
    assert not [p for p in store.path.iterdir() if p.name.startswith("tmp-")]


def test_leftovers_of_running_or_unknown_processes_wait_for_an_hour(store: ZarrStore) -> None:
    running = store.path / f"tmp-{zarr_store._HOST}-{os.getpid()}-{'a' * 32}"
    elsewhere = store.path / f"tmp-elsewhere-{os.getpid()}-{'b' * 32}"
    old = store.path / f"tmp-elsewhere-{os.getpid()}-{'c' * 32}"
    for folder in (running, elsewhere, old):
        (folder / "image").mkdir(parents=True)
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    store.prune()
    assert running.exists()
    assert elsewhere.exists()
    assert not old.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_interrupted_put_leaves_no_temporary_folder(
    store: ZarrStore, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(descriptor: int) -> None:
        raise error

    expected = StoreError if isinstance(error, OSError) else KeyboardInterrupt
    features = features_of(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(expected):
            store.put(key_of(1), features)
    assert [p.name for p in store.path.iterdir()] == ["zarr.json"]


# ------------------------------------------------------------------------------- several processes


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def test_two_processes_put_and_get_the_same_keys(store: ZarrStore) -> None:
    with _pool() as pool:
        jobs = [
            pool.submit(store_processes.work_on_same_keys, str(store.path), seed, 150)
            for seed in (1, 2)
        ]
        assert [job.result(timeout=120) for job in jobs] == [[], []]
    assert len(store) == len(store.keys())
    assert not [p for p in store.path.iterdir() if p.name.startswith("tmp-")]


def test_two_processes_put_different_keys(store: ZarrStore) -> None:
    with _pool() as pool:
        jobs = [
            pool.submit(store_processes.put_range, str(store.path), start, start + 25, None)
            for start in (0, 25)
        ]
        for job in jobs:
            job.result(timeout=120)
    assert len(store) == 50
    for number in range(50):
        assert_same(store.get(key_of(number)), features_of(number))


def test_two_processes_share_a_limit(store: ZarrStore) -> None:
    store.put(key_of(0), features_of(0))
    limit = 10 * store.nbytes
    with _pool() as pool:
        jobs = [
            pool.submit(store_processes.put_range, str(store.path), start, start + 30, limit)
            for start in (0, 30)
        ]
        for job in jobs:
            job.result(timeout=120)
    # Each may add what it does not yet know of the other's; the next scan corrects it.
    assert store.nbytes <= 2 * limit
    store.prune(limit)
    assert store.nbytes <= limit
    assert None not in [store.get(key) for key in store.keys()]  # noqa: SIM118  (not a dict)


def test_entry_replaced_while_it_is_read_is_not_called_damaged(
    store: ZarrStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(key_of(1), features_of(1))
    read_files = zarr_store.read_files
    calls = 0

    def read_then_replace(folder: Path) -> dict[str, bytes]:
        nonlocal calls
        files = read_files(folder)
        calls += 1
        if calls == 1:
            store.put(key_of(1), features_of(2))
            return {**files, **{n: b"" for n in files if n != "zarr.json"}}
        return files

    monkeypatch.setattr(zarr_store, "read_files", read_then_replace)
    with caplog.at_level(logging.WARNING):
        assert_same(store.get(key_of(1)), features_of(2))
    assert caplog.text == ""


# ------------------------------------------------------------------------------------- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root; the file size limit is tested anyway")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_says_what_to_do_and_breaks_nothing(small_disk: Path) -> None:
    store = ZarrStore(small_disk / "store")
    stored = 0

    def fill() -> None:
        nonlocal stored
        while True:
            store.put(key_of(stored), features_of(stored, size=40_000))
            stored += 1

    with pytest.raises(StoreError, match=r"full.*litesam cache prune") as caught:
        fill()
    assert caught.value.__cause__.errno == errno.ENOSPC  # type: ignore[union-attr]
    assert stored >= 2
    assert sorted(p.name for p in store.path.iterdir() if p.name != "zarr.json") == sorted(
        key_of(n).digest() for n in range(stored)
    )
    for number in range(stored):
        assert_same(store.get(key_of(number)), features_of(number, size=40_000))
    store.prune(store.nbytes // 2)
    store.put(key_of(stored), features_of(stored, size=40_000))
    assert_same(store.get(key_of(stored)), features_of(stored, size=40_000))


@POSIX
def test_file_size_limit_is_reported_like_a_full_disk(store: ZarrStore) -> None:
    result = _run("put_with_file_size_limit", store.path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("EFBIG")
    assert "full" in result.stdout
    assert_same(store.get(key_of(1)), features_of(1, size=4000))
    assert sorted(p.name for p in store.path.iterdir()) == sorted([key_of(1).digest(), "zarr.json"])


def test_read_only_disk_is_refused(small_disk: Path) -> None:
    store = ZarrStore(small_disk / "store")
    store.put(key_of(1), features_of(1))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert_same(store.get(key_of(1)), features_of(1))  # reading goes on
    with pytest.raises(StoreError, match="permissions or choose another"):
        store.put(key_of(2), features_of(2))
    with pytest.raises(StoreError, match="not writable"):
        ZarrStore(store.path)
    with pytest.raises(StoreError, match="permissions or choose another"):
        ZarrStore(small_disk / "new")


# ------------------------------------------------------------------------------------ store folder


def test_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (file, file / "below"):
        with pytest.raises(StoreError, match="is a file or lies below one"):
            ZarrStore(path)
    assert file.read_text() == "mine"


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0,
    reason="root may write everywhere; see the read-only disk",
)
def test_unwritable_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="permissions"):
            ZarrStore(tmp_path / "new")
        with pytest.raises(StoreError, match=r"permissions|writable"):
            ZarrStore(tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_folder_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(StoreError, match="cannot be made"):
        ZarrStore("/proc/litesam/store")


def test_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"not an embedding store.*thesis\.txt"):
        ZarrStore(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("attributes", [{}, {"litesam": {"kind": "labels", "version": 1}}])
def test_other_zarr_data_is_refused(tmp_path: Path, attributes: dict) -> None:
    group = zarr.create_group(tmp_path / "image.zarr", zarr_format=3, attributes=attributes)
    group.create_array("0", shape=(2, 2), dtype="u1")
    with pytest.raises(StoreError, match="other zarr data"):
        ZarrStore(tmp_path / "image.zarr")


def test_store_of_a_newer_version_is_refused(store: ZarrStore) -> None:
    marker = json.loads((store.path / "zarr.json").read_text())
    marker["attributes"]["litesam"]["version"] = 99
    (store.path / "zarr.json").write_text(json.dumps(marker))
    with pytest.raises(StoreError, match="newer litesam"):
        ZarrStore(store.path)


@pytest.mark.parametrize("content", [b"", b'{"zarr_format": 3, "node_ty'])
def test_truncated_marker_is_written_anew_and_no_entry_is_lost(
    store: ZarrStore, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    store.put(key_of(1), features_of(1))
    (store.path / "zarr.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = ZarrStore(store.path)
    assert "marker" in caplog.text
    assert_same(again.get(key_of(1)), features_of(1))
    zarr.open_group(store.path, mode="r", zarr_format=3)


def test_folder_of_a_process_killed_before_the_marker_is_a_store(tmp_path: Path) -> None:
    (tmp_path / f"tmp-elsewhere-1-{'a' * 32}").write_text("{")
    store = ZarrStore(tmp_path)
    store.put(key_of(1), features_of(1))
    assert_same(store.get(key_of(1)), features_of(1))


def test_removed_store_folder_is_an_error_that_says_so(store: ZarrStore) -> None:
    (store.path / "zarr.json").unlink()
    store.path.rmdir()
    assert store.get(key_of(1)) is None
    with pytest.raises(StoreError, match="cannot be listed"):
        len(store)
    with pytest.raises(StoreError, match="cannot be listed"):
        store.prune()


def test_default_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "embeddings"
    monkeypatch.delenv("LITESAM_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    default = default_cache_dir()
    assert default.name == "embeddings"
    assert "litesam" in default.parts
