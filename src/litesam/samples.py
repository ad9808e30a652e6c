"""Sample images that are part of the package, for the demo, the tutorials and napari's menu.

Real microscopy with reference labels, never used for training; ``sample_files/LICENSES.md`` names
source and licence of each file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from litesam.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = Path(__file__).parent / "sample_files"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample image.

    Attributes
    ----------
    name
        Short name, the key in `SAMPLES`.
    file, labels_file
        File names of the image and of its reference labels in the package.
    title
        Name for people.
    axes
        Meaning of the array's axes, for example ``"ZYX"``; C is colour. The labels have the
        same without C.
    licence
        SPDX name.
    scale
        Spacing of the pixels along each axis but C, relative to x; the absolute size is not known.
    source
        Where the image comes from.
    """

    name: str
    file: str
    labels_file: str
    title: str
    axes: str
    licence: str
    scale: tuple[float, ...]
    source: str


_BBBC038 = "2018 Data Science Bowl stage 1 (BBBC038v1, Broad Bioimage Benchmark Collection)"

#: The samples by name.
SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {
        "nuclei": Sample(
            name="nuclei",
            file="fluorescence_nuclei.png",
            labels_file="fluorescence_nuclei_labels.png",
            title="Nuclei, fluorescence",
            axes="YX",
            licence="CC0-1.0",
            scale=(1.0, 1.0),
            source=_BBBC038,
        ),
        "tissue": Sample(
            name="tissue",
            file="stained_tissue.png",
            labels_file="stained_tissue_labels.png",
            title="Tissue section, stained",
            axes="YXC",
            licence="CC0-1.0",
            scale=(1.0, 1.0),
            source=_BBBC038,
        ),
        # z : xy = 2.18 is the default resolution of the authors' program for their own images.
        "embryo": Sample(
            name="embryo",
            file="embryo_stack.tif",
            labels_file="embryo_stack_labels.tif",
            title="Mouse embryo, 16 cells, stack",
            axes="ZYX",
            licence="MIT",
            scale=(2.18, 1.0, 1.0),
            source="funalab/QCANet, copyright (c) 2018 funalab",
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
    return _existing(_get(name).file)


def sample_labels_path(name: str) -> Path:
    """Return the path of the reference labels of a sample.

    Parameters
    ----------
    name
        A key of `SAMPLES`.

    Raises
    ------
    ReadError
        If there is no sample of that name or its file is missing from the installation.
    """
    return _existing(_get(name).labels_file)


def _get(name: str) -> Sample:
    if name not in SAMPLES:
        raise ReadError(f"No sample is named {name!r}; choose one of {', '.join(SAMPLES)}.")
    return SAMPLES[name]


def _existing(file: str) -> Path:
    path = _FOLDER / file
    if not path.is_file():
        raise ReadError(f"The sample file {path} is missing; install napari-litesam again.")
    return path
