"""A PyTorch file in an archive, as EfficientSAM-S is published (``.pt.zip``), is read directly."""

from __future__ import annotations

import io
import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch

from litesam.errors import WeightsError
from litesam.models.state_dicts import can_be_mapped, load_state_dict

if TYPE_CHECKING:
    from pathlib import Path

STATE = {"a.weight": torch.randn(64, 64), "a.bias": torch.arange(64.0)}


def _torch_bytes(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _pack(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["efficient_sam_vits.pt", "weights/efficient_sam_vits.pt"])
@pytest.mark.parametrize("beside", [{}, {"__MACOSX/._x.pt": b"x"}], ids=["alone", "with macOS's"])
def test_packed_file(name: str, beside: dict[str, bytes], tmp_path: Path) -> None:
    path = _pack(tmp_path / "x.pt.zip", {name: _torch_bytes({"model": STATE}), **beside})
    state = load_state_dict(path, ("model",))
    assert state.keys() == STATE.keys()
    for key, tensor in STATE.items():
        torch.testing.assert_close(state[key], tensor, rtol=0, atol=0)
    assert not can_be_mapped(path)


def test_bytes_that_unpack_to_much_more_are_refused(tmp_path: Path) -> None:
    path = _pack(tmp_path / "x.zip", {"x.pt": bytes(4_000_000)})
    with pytest.raises(WeightsError, match="times as large"):
        load_state_dict(path)


def test_compressed_records_inside_are_refused_as_well(tmp_path: Path) -> None:
    inner = _pack(tmp_path / "inner.pt", {"x/data.pkl": os.urandom(999) + bytes(999), "y": b""})
    path = _pack(tmp_path / "x.zip", {"x.pt": inner.read_bytes()})
    with pytest.raises(WeightsError, match="is compressed"):
        load_state_dict(path)


def test_code_inside_is_refused_and_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {tmp_path / 'run'}",))

    path = _pack(tmp_path / "x.zip", {"x.pt": _torch_bytes({"model": Touch()})})
    with pytest.raises(WeightsError):
        load_state_dict(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("entries", [{"a.txt": b"hello"}, {"a.pt": b"x", "b.pt": b"y"}, {}])
def test_archive_of_something_else(entries: dict[str, bytes], tmp_path: Path) -> None:
    path = _pack(tmp_path / "x.zip", entries)
    with pytest.raises(WeightsError, match=r"x\.zip"):
        load_state_dict(path)


def test_damaged_archive(tmp_path: Path) -> None:
    path = _pack(tmp_path / "x.zip", {"x.pt": _torch_bytes(STATE)})
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        load_state_dict(path)
