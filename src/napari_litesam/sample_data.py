"""Sample images for napari's *File ▸ Open Sample* menu; the files are the engine's."""

from __future__ import annotations

from typing import Any

LayerData = tuple[Any, dict[str, Any], str]


def nuclei() -> list[LayerData]:
    """Fluorescence image of nuclei, 2-D."""
    return _layers("nuclei")


def tissue() -> list[LayerData]:
    """Stained tissue section, RGB."""
    return _layers("tissue")


def embryo() -> list[LayerData]:
    """Mouse embryo, a stack of planes with its spacing."""
    return _layers("embryo")


def _layers(name: str) -> list[LayerData]:
    """Read one sample as napari layer data."""
    # Imported here: building napari's menus must not read images or load their readers.
    from litesam.io import read_image
    from litesam.samples import SAMPLES, sample_path

    sample = SAMPLES[name]
    image = read_image(sample_path(name))
    options = {"name": sample.title, "scale": sample.scale, "rgb": sample.axes.endswith("YXC")}
    return [(image.array, options, "image")]
