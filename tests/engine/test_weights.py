"""Weights files: found where they should be, read without running anything, loaded strictly."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from litesam.errors import WeightsError
from litesam.models import weights_files
from litesam.models.registry import get_spec
from litesam.models.weights import file_hash, load_network, load_state_dict, resolve_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


class RunsACommand:
    """Unpickles into a call of the shell."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (self.command,))


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "wrapped", "named-safetensors"])
def test_file_that_would_run_a_command_is_refused_and_runs_nothing(
    kind: str, tmp_path: Path
) -> None:
    marker = tmp_path / "was-run"
    evil = RunsACommand(f"echo > '{marker}'")
    path = tmp_path / "evil.pt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(evil, protocol=2))
    elif kind == "named-safetensors":
        path = path.with_suffix(".safetensors")
        path.write_bytes(pickle.dumps(evil, protocol=2))
    elif kind == "wrapped":
        torch.save({"model": STATE, "extra": evil}, path)
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError) as caught:
        load_state_dict(path)
    assert not marker.exists()
    assert str(path) in str(caught.value)
    if kind != "named-safetensors":
        assert "refused" in str(caught.value)
        assert "system" in str(caught.value)
    pickle.loads(pickle.dumps(evil))  # the file is a real one: read carelessly, it does run
    assert marker.exists()


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
