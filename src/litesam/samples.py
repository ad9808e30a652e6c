"""Sample images that are part of the package, for the demo, the tutorials and napari's menu.

Real microscopy, never used for training; ``sample_files/LICENSES.md`` names source and licence of
each file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from litesam.errors import ReadError

_FOLDER = Path(__file__).parent / "sample_files"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample image.

    Attributes
    ----------
    file
        File name in the package.
    title
        Name for people.
    axes
        Meaning of the array's axes, for example ``"ZYX"``; C is colour.
    licence
        SPDX name.
    scale
        Spacing of the pixels along each axis but C, relative to x; the absolute size is not known.
    """

    file: str
    title: str
    axes: str
    licence: str
    scale: tuple[float, ...]


#: The samples by name.
SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {
        "nuclei": Sample(
            "fluorescence_nuclei.png", "Nuclei, fluorescence", "YX", "CC0-1.0", (1.0, 1.0)
        ),
        "tissue": Sample(
            "stained_tissue.png", "Tissue section, stained", "YXC", "CC0-1.0", (1.0, 1.0)
        ),
        # z : xy = 2.18 is the default resolution of the authors' program for their own images.
        "embryo": Sample(
            "embryo_stack.tif", "Mouse embryo, 16 cells, stack", "ZYX", "MIT", (2.18, 1.0, 1.0)
        ),
    }
)


def sample_path(name: str) -> Path:
    """Return the path of a sample image.

    Parameters
    ----------
    name
        A key of `SAMPLES`.

    Raises
    ------
    ReadError
        If there is no sample of that name or its file is missing from the installation.
    """
    if name not in SAMPLES:
        raise ReadError(f"No sample is named {name!r}; choose one of {', '.join(SAMPLES)}.")
    path = _FOLDER / SAMPLES[name].file
    if not path.is_file():
        raise ReadError(f"The sample file {path} is missing; install napari-litesam again.")
    return path
