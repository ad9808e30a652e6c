"""Loading a large file needs the memory of one copy, whatever its container and precision."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

#: 40 layers of 16.8 MB, as linear layers or as convolutions whose memory layout has to change.
_COMMON = """
import sys
from dataclasses import replace
import torch
from torch import nn
from litesam.models.registry import get_spec
from litesam.models.weights import load_network

class Large(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

def build_linear(spec):
    return Large(nn.Linear(2048, 2048, bias=False) for _ in range(40))

def build_conv(spec):
    layers = (nn.Conv2d(1024, 455, 3, bias=False) for _ in range(40))
    return Large(layers).to(memory_format=torch.channels_last)

def spec_of(builder):
    return replace(get_spec("mobile_sam"), name=builder, builder=f"__main__:{builder}")

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

path, builder = sys.argv[1:]
"""

_MEASURE = """
before = peak()
network = load_network(spec_of(builder), path)
size = sum(p.nbytes for p in network.parameters())
assert builder == "build_linear" or network.layers[0].weight.is_contiguous(
    memory_format=torch.channels_last)
assert path not in open("/proc/self/maps").read()  # the file may change now
print((peak() - before) / size)
"""
_SHAPES = {"build_linear": (2048, 2048), "build_conv": (455, 1024, 3, 3)}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(
    ("name", "builder", "dtype"),
    [
        ("w.pt", "build_linear", torch.float32),
        ("w.safetensors", "build_conv", torch.float16),
        pytest.param("w.pt", "build_linear", torch.float16, marks=pytest.mark.slow),
        pytest.param("w.pt", "build_conv", torch.float32, marks=pytest.mark.slow),
        pytest.param("w.safetensors", "build_linear", torch.float32, marks=pytest.mark.slow),
    ],
)
def test_one_copy_in_memory(name: str, builder: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """1.4 leaves room for what is copied at a time and for the file's table, not for a copy."""
    path = tmp_path / name
    values = {
        f"layers.{index}.weight": torch.full(_SHAPES[builder], 0.5, dtype=dtype)
        for index in range(40)
    }
    (save_file if path.suffix == ".safetensors" else torch.save)(values, path)
    del values
    result = subprocess.run(
        [sys.executable, "-c", _COMMON + _MEASURE, str(path), builder],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    path.unlink()
    assert result.returncode == 0, result.stderr
    print(f"{name} {builder} {dtype}: peak {float(result.stdout):.2f} x the network")
    assert 0.9 < float(result.stdout) < 1.4
