"""The last line of the panel: model, device, what is embedded and what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

from litesam.models.registry import get_spec
from napari_litesam.rows import wrapped

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_litesam.ahead import Overview

_UNITS = ("B", "kB", "MB", "GB", "TB")
_DEVICES = {"cpu": "CPU", "cuda": "GPU", "mps": "GPU"}


class Foot(QLabel):  # type: ignore[misc]  # qtpy is untyped
    """One line, two or three in a narrow panel; its tooltip has the details."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("foot")
        self.setContentsMargins(8, 0, 8, 4)
        self.setMinimumWidth(10)
        self.setWordWrap(True)
        self.setToolTip("What is embedded, and what it takes.")

    def show_overview(self, overview: Overview) -> None:
        """Show what is embedded and what it takes."""
        model = get_spec(overview.model).title
        parts = [model, device_text(overview.device), embedded_text(overview)]
        if overview.cache is not None:
            parts.append(f"cache {size_text(overview.cache.size_bytes)}")
        if overview.memory_bytes:
            parts.append(f"{size_text(overview.memory_bytes)} RAM")
        # A line is broken between the parts only.
        whole = (part.replace(" ", "\u00a0") for part in parts if part)
        self.setText("\u00a0· ".join(whole))
        self.setToolTip(wrapped("\n".join(_details(overview))))


def size_text(size_bytes: int) -> str:
    """Return a size for people, such as ``"340 MB"``."""
    size, unit = float(size_bytes), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return (
        f"{size:.1f} {_UNITS[unit]}" if 0 < size < 9.95 and unit else f"{size:.0f} {_UNITS[unit]}"
    )


def device_text(device: str) -> str:
    """Return a torch device for people."""
    return _DEVICES.get(device.split(":")[0], device.upper())


def embedded_text(overview: Overview) -> str:
    """Return what is embedded: slices of a stack, tiles of a plane."""
    if overview.planes > 1:
        return f"embedded {overview.planes_done}/{overview.planes} slices"
    if overview.planes and overview.tiles:
        return f"embedded {overview.tiles_done}/{overview.tiles} tiles"
    return "not embedded" if overview.planes else ""


def _details(overview: Overview) -> list[str]:
    """Lines of the tooltip."""
    where = device_text(overview.device)
    lines = [f"Model: {get_spec(overview.model).title}" + (f", on the {where}" if where else "")]
    if not where:
        lines[0] += ", loaded with the first prompt"
    if overview.planes:
        lines.append(f"Planes embedded: {overview.planes_done} of {overview.planes}")
        known = f"{overview.tiles_done} of {overview.tiles}" if overview.tiles else "none yet"
        lines.append(f"Tiles of this plane: {known}")
        if overview.ahead:
            lines.append("More is being embedded in the background.")
    if overview.cache is not None:
        cache = overview.cache
        kept = "on disk" if cache.folder else "in memory, until napari is closed"
        lines.append(
            f"Embeddings kept {kept}: {cache.entries} tiles, {size_text(cache.size_bytes)}"
        )
        if cache.folder:
            lines.append(cache.folder)
        if cache.full:
            lines.append(
                "There is no room for more: the oldest ones go."
                + ("" if cache.folder else " Tick *keep on disk* to keep all of a stack.")
            )
    lines.append(f"Memory of napari: {size_text(overview.memory_bytes)}")
    return lines
