"""Rooms: named after what is in them, and described in the architecture page."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

#: Names that say nothing about what is inside.
ROOMLESS = {"utils", "util", "helpers", "helper", "misc", "common", "tools", "manager"}


def test_no_module_is_a_drawer_for_everything() -> None:
    parts = {part for path in SOURCES for part in re.split(r"[_/.]", str(path.relative_to(ROOT)))}
    assert not parts & ROOMLESS


def test_every_room_is_described() -> None:
    rooms = {
        path.name + ("/" if path.is_dir() else "")
        for package in ("litesam", "napari_litesam")
        for path in (ROOT / "src" / package).iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file())
    }
    missing = {room for room in rooms if f"`{room}`" not in ARCHITECTURE}
    assert not missing, f"docs/architecture.md does not describe {sorted(missing)}"


def test_only_rooms_that_exist_are_described() -> None:
    tables = re.findall(r"^\| `([a-z_]+(?:\.py|/|\.yaml))` \|", ARCHITECTURE, flags=re.MULTILINE)
    packages = [ROOT / "src" / "litesam", ROOT / "src" / "napari_litesam"]
    gone = {room for room in tables if not any((package / room).exists() for package in packages)}
    assert tables
    assert not gone, f"docs/architecture.md describes {sorted(gone)}, which do not exist"


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if not path.read_text(encoding="utf-8").lstrip().startswith('"""')
    ]
    assert not silent


def test_no_quoted_annotations_beside_future_annotations() -> None:
    """Both together break napari's injection of the viewer into plugin commands."""
    quoted = re.compile(r"(->|:) *[\"'][A-Z][A-Za-z.\[\]| ]*[\"'] *([,=):]|$)", re.MULTILINE)
    for path in (ROOT / "src" / "napari_litesam").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "from __future__ import annotations" in text:
            signatures = "\n".join(line for line in text.splitlines() if "def " in line)
            assert not quoted.search(signatures), path.name
