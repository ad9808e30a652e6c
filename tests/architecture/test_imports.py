"""What an import may load, seen in a fresh interpreter, and the direction of all imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return {name.partition(".")[0] for name in json.loads(result.stdout)}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import litesam", {"napari", "qtpy", "magicgui", "superqt", "PyQt6", "torch", "zarr"}),
        ("import litesam; litesam.list_models()", {"napari", "qtpy", "torch", "zarr"}),
        ("import litesam.cli", {"napari", "qtpy", "torch"}),
        ("import napari_litesam", {"torch", "qtpy", "PyQt6"}),
    ],
)
def test_import_loads_only_what_it_must(statement: str, absent: set[str]) -> None:
    assert not modules_after(statement) & absent


def test_every_public_name_loads() -> None:
    import litesam

    for name in litesam.__all__:
        assert getattr(litesam, name) is not None
    assert len(litesam.__all__) <= 25


def test_unknown_public_name_is_an_attribute_error() -> None:
    import litesam

    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        litesam.Segmentor  # noqa: B018


def test_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(command), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout
