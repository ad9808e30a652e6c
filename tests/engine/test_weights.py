"""Weights files: found where they should be, read without running anything, loaded strictly."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from litesam.errors import WeightsError
from litesam.models import weights_files
from litesam.models.registry import get_spec
from litesam.models.weights import (
    check_weights,
    file_hash,
    load_network,
    load_state_dict,
    read_state_dict,
    resolve_weights,
)
from litesam.weights import import_weights, recognise_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from litesam.types import ModelSpec

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, -1.0])}


class Tiny(nn.Module):
    """A network with the entries of `STATE`."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 2)


def build_tiny(spec: ModelSpec) -> Tiny:
    return Tiny()


@pytest.fixture
def spec() -> ModelSpec:
    return replace(get_spec("mobile_sam"), builder=f"{__name__}:build_tiny")


def _same(loaded: dict[str, torch.Tensor]) -> bool:
    return loaded.keys() == STATE.keys() and all(
        torch.equal(loaded[name], tensor) and loaded[name].dtype == torch.float32
        for name, tensor in STATE.items()
    )


# ------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE},
        {"state_dict": STATE, "epoch": 3},
        {f"module.{name}": tensor for name, tensor in STATE.items()},
        {"model": {f"module.{name}": tensor for name, tensor in STATE.items()}},
    ],
    ids=["flat", "model", "state_dict", "module-prefix", "wrapped-prefix"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_torch_containers(content: Any, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert _same(load_state_dict(path))


def test_named_container(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"net": {"ema": STATE}, "model": {}}, path)
    assert _same(load_state_dict(path, ("net", "ema")))
    with pytest.raises(WeightsError, match="no entry 'other'"):
        load_state_dict(path, ("other",))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_safetensors_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in STATE.items()}, path)
    assert _same(load_state_dict(path))


def test_integers_stay_integers(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"n": torch.tensor(7)}, path)
    assert load_state_dict(path)["n"].dtype == torch.int64


class Runs:
    """Unpickles into a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class RunsByState:
    """Unpickles into an object whose state is set by a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return (OrderedDict, (), None, None, iter([(1, Runs(*self.call[:1], *self.call[1]))]))


def _attacks(marker: Path) -> dict[str, Any]:
    """Objects that make a file when they are unpickled by Python's own unpickler."""
    python = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Runs(os.system, f"echo > '{marker}'"),
        "subprocess.run": Runs(subprocess.run, [sys.executable, "-c", python]),
        "subprocess.Popen": Runs(subprocess.check_call, [sys.executable, "-c", python]),
        "builtins.exec": Runs(exec, python),
        "builtins.eval": Runs(eval, python),
        "builtins.open": Runs(open, str(marker), "w"),
        "pathlib.Path.touch": Runs(Path.touch, marker),
        "torch.save": Runs(torch.save, {}, str(marker)),
        "in a container": RunsByState(os.system, f"echo > '{marker}'"),
    }


def _write_tar(path: Path, evil: bytes) -> None:
    """An archive of early PyTorch; every member of it is read by an unpickler."""
    system = {"protocol_version": 1000, "little_endian": True, "type_sizes": {"int": 4}}
    members = {
        "sys_info": pickle.dumps(system, protocol=2),
        "storages": pickle.dumps(1, protocol=2) + evil,
        "tensors": pickle.dumps(1, protocol=2) + evil,
        "pickle": evil,
    }
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("attack", _attacks(Path()))
@pytest.mark.parametrize(
    "kind", ["zip", "legacy", "tar", "pickle", "wrapped", "value", "packed", "safetensors"]
)
def test_file_that_would_run_something_is_refused_and_runs_nothing(
    attack: str, kind: str, tmp_path: Path, spec: ModelSpec
) -> None:
    marker = tmp_path / "was-run"
    evil = _attacks(marker)[attack]
    path = tmp_path / "evil.pt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(evil, protocol=2))
    elif kind == "safetensors":  # by its name only
        path = path.with_suffix(".safetensors")
        path.write_bytes(pickle.dumps(evil, protocol=2))
    elif kind == "tar":
        _write_tar(path, pickle.dumps(evil, protocol=2))
    elif kind == "packed":  # the file in an archive, as some are published
        torch.save(evil, tmp_path / "inner.pt")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / "inner.pt", "inner.pt")
    elif kind == "wrapped":
        torch.save({"model": STATE, "extra": evil}, path)
    elif kind == "value":
        torch.save({**STATE, "b": evil}, path)
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=kind == "zip")
    for read in (
        load_state_dict,
        partial(read_state_dict, mapped=True),
        partial(load_network, spec),
        partial(check_weights, spec),
        recognise_weights,
        import_weights,
    ):
        with pytest.raises(WeightsError) as caught:
            read(path)
        assert not marker.exists()
        assert str(path) in str(caught.value)
        assert kind == "safetensors" or "refused" in str(caught.value)
    opened = pickle.loads(pickle.dumps(evil))  # a real one: read carelessly, it does run
    if attack == "builtins.open":
        opened.close()
    assert marker.exists()


# ---------------------------------------------------------------------- files made to do harm


def _rewritten(source: Path, target: Path, change: Callable[[bytes], bytes], **how: Any) -> Path:
    """A PyTorch archive with other instructions."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **how) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return target


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A state dict of one tensor: 10 values."""
    path = tmp_path / "ten.pt"
    torch.save({"a": torch.arange(10.0)}, path)
    return path


_TEN, _BILLION = b"K\x0a", b"\x8a\x04\x00\xca\x9a\x3b"


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(_TEN, _BILLION),
        lambda data: data.replace(_TEN + b"\x85", _BILLION + b"\x85"),
        lambda data: data.replace(_TEN + b"\x85", _BILLION + b"\x85").replace(
            b"K\x01\x85", b"K\x00\x85"
        ),
        lambda data: data.replace(b"QK\x00", b"QK\x07"),
        lambda data: data.replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"),
        lambda data: data.replace(b"}q\x00", b"}r\xff\xff\xff\x7f"),
    ],
    ids=["record", "shape", "repeated", "offset", "no-record", "memo"],
)
def test_absurd_declarations_take_no_memory(
    change: Callable[[bytes], bytes], mapped: bool, archive: Path, tmp_path: Path
) -> None:
    """Shapes of 4 GB in a file of 1 kB, and other things that the file does not hold."""
    path = _rewritten(archive, tmp_path / "absurd.pt", change)
    assert path.read_bytes() != archive.read_bytes()
    if b"r\xff\xff\xff\x7f" in path.read_bytes():  # allowed, and harmless: a dict, no table
        assert read_state_dict(path, mapped=mapped)["a"].shape == (10,)
        return
    with pytest.raises(WeightsError, match=r"refused|damaged"):
        read_state_dict(path, mapped=mapped)


def test_compressed_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    """PyTorch's reader would take the compressed bytes for values when it maps the file."""
    path = _rewritten(
        archive, tmp_path / "z.pt", lambda data: data, compression=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(WeightsError, match="compressed"):
        load_state_dict(path)


def test_bomb_is_refused_before_it_is_unpacked(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with (
        zipfile.ZipFile(archive) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, bytes(200_000_000) if "/data/" in name else old.read(name))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(WeightsError, match="refused"):
        load_state_dict(path)


def test_records_with_paths_out_of_the_archive_write_nothing(archive: Path, tmp_path: Path) -> None:
    outside = tmp_path.parent / "escaped.txt"
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("ten/../../escaped.txt", b"x")
    assert set(load_state_dict(archive)) == {"a"}
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr(str(outside), b"x")
        content.writestr("../escaped.txt", b"x")
    with pytest.raises(WeightsError, match=r"damaged|refused"):
        load_state_dict(archive)
    assert not outside.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["ten.pt"]


def test_safetensors_that_declare_more_than_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    table = {"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}
    header = json.dumps(table).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(40))
    with pytest.raises(WeightsError, match="damaged"):
        load_state_dict(path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _cut_to_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def _garbage(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><html>404 not found</html>" * 30)


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _cut_to_header, _garbage, _nothing])
@pytest.mark.parametrize("name", ["w.pt", "w_legacy.pt", "w.safetensors"])
def test_damaged_files(name: str, damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file({"big": torch.zeros(500), **STATE}, path)
    else:
        torch.save(
            {"big": torch.zeros(500), **STATE},
            path,
            _use_new_zipfile_serialization="legacy" not in name,
        )
    damage(path)
    with pytest.raises(WeightsError, match=r"damaged|empty") as caught:
        load_state_dict(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_state_dict(tmp_path / "none.pt")
    with pytest.raises(WeightsError, match="does not exist"):
        load_state_dict(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "content", [torch.zeros(3), [1, 2], {}, {"epoch": 3, "lr": 0.1}, {1: torch.zeros(2)}, "text"]
)
def test_file_without_state_dict(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_state_dict(path)


# ------------------------------------------------------------------------------- loading


def test_load_network(spec: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({**STATE, "pixel_mean": torch.zeros(3, 1, 1)}, path)
    network = load_network(spec, path)
    assert _same(dict(network.state_dict()))
    assert not network.training


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a.weight": STATE["a.weight"]}, "1 tensors missing (a.bias)"),
        ({**STATE, "b": torch.zeros(1)}, "1 unknown tensors (b)"),
        ({**STATE, "a.bias": torch.zeros(5)}, "a.bias (5,) instead of (2,)"),
    ],
)
def test_weights_of_another_model(
    state: dict[str, torch.Tensor], words: str, spec: ModelSpec, tmp_path: Path
) -> None:
    path = tmp_path / "w.pt"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="another model than 'mobile_sam'") as caught:
        load_network(spec, path)
    assert words in str(caught.value)


def test_weights_with_nan_are_damaged(spec: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({**STATE, "a.bias": torch.tensor([float("nan"), 1.0])}, path)
    with pytest.raises(WeightsError, match=r"damaged: 'a\.bias'"):
        load_network(spec, path)


# ------------------------------------------------------------------------------- finding


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Bundled folder and weights folder, both empty."""
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    monkeypatch.setattr(weights_files, "bundled_dir", lambda: bundled)
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    own = tmp_path / "home" / "weights"
    own.mkdir(parents=True)
    return bundled, own


def test_explicit_file_wins(spec: ModelSpec, places: tuple[Path, Path], tmp_path: Path) -> None:
    (places[1] / spec.weights.file).write_bytes(b"standard")
    path = tmp_path / "mine.pt"
    path.write_bytes(b"mine")
    assert resolve_weights(spec, path) == path
    assert resolve_weights(spec, str(path)) == path


def test_bundled_file_comes_before_the_weights_folder(
    spec: ModelSpec, places: tuple[Path, Path]
) -> None:
    bundled, own = places
    (own / spec.weights.file).write_bytes(b"own")
    assert resolve_weights(spec) == own / spec.weights.file
    (bundled / spec.weights.file).write_bytes(b"bundled")
    assert resolve_weights(spec) == bundled / spec.weights.file


def test_missing_weights_say_which_file_from_where_to_where(
    spec: ModelSpec, places: tuple[Path, Path]
) -> None:
    with pytest.raises(WeightsError) as caught:
        resolve_weights(spec)
    message = str(caught.value)
    for part in ("mobile_sam.pt", "41 MB", "Apache-2.0", spec.weights.url, str(places[1])):
        assert part in message


def test_missing_bundled_weights_say_so(places: tuple[Path, Path]) -> None:
    with pytest.raises(WeightsError, match="Reinstall"):
        resolve_weights(get_spec("lite_sam"))


def test_explicit_path_that_is_no_file(spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder"):
        resolve_weights(spec, tmp_path)
    with pytest.raises(WeightsError, match="does not exist"):
        resolve_weights(spec, tmp_path / "none.pt")


def test_user_data_folder_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LITESAM_HOME")
    folder = weights_files.weights_dir()
    assert folder.name == "weights"
    assert folder.parent.name == "litesam"


def test_file_hash_is_sha256_of_the_content_and_follows_changes(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"abc")
    # The published test vector of SHA-256.
    assert file_hash(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    other = tmp_path / "copy.pt"
    other.write_bytes(b"abc")
    assert file_hash(other) == file_hash(path)
    path.write_bytes(b"abcd")
    assert file_hash(path) != file_hash(other)
    with pytest.raises(WeightsError, match="cannot be read"):
        file_hash(tmp_path / "none.pt")


def test_changed_standard_file_is_reported(
    spec: ModelSpec, places: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = places[1] / spec.weights.file
    torch.save(STATE, path)
    load_network(spec, path)
    assert "not the published file" in caplog.text
    caplog.clear()
    load_network(replace(spec, weights=replace(spec.weights, sha256=file_hash(path))), path)
    assert not caplog.text


def test_networks_are_loaded_by_two_threads_at_once(spec: ModelSpec, tmp_path: Path) -> None:
    """The second begins and ends while the first is in the middle of a parameter."""
    path = tmp_path / "tiny.safetensors"
    save_file(STATE, path)
    paused, go_on = threading.Event(), threading.Event()

    def pause(*_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            paused.set()
            assert go_on.wait(60)

    hook = register_module_parameter_registration_hook(pause)
    try:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(load_network, spec, path)
            assert paused.wait(60)
            second = load_network(spec, path)
            assert not nn.Linear(2, 2).weight.is_meta  # what is built beside it is left alone
            go_on.set()
            networks = (first.result(), second)
    finally:
        hook.remove()
    for network in networks:
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, STATE[name])
