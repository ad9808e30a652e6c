"""Bundled sample images: real microscopy with reference labels, for the demo, the tutorials and napari's sample menu.

The files and their licences lie in ``sample_files/`` (see its README.md).
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
    """One bundled image.

    Attributes
    ----------
    name, title
        Short name for code and command line; name for people.
    file, labels_file
        File names of the image and of its reference labels in ``sample_files/``.
    axes
        Axes of the image array, slowest first; the labels have the same without C.
    licence
        SPDX name of the licence.
    source
        Where the image comes from.
    """

    name: str
    title: str
    file: str
    labels_file: str
    axes: str
    licence: str
    source: str


_BBBC038 = "2018 Data Science Bowl stage 1 (BBBC038v1, Broad Bioimage Benchmark Collection)"

#: All samples by name.
SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {
        sample.name: sample
        for sample in (
            Sample(
                "fluorescence",
                "Nuclei, fluorescence",
                "fluorescence.png",
                "fluorescence_labels.png",
                "YX",
                "CC0-1.0",
                _BBBC038,
            ),
            Sample(
                "stained",
                "Nuclei, stained, bright field",
                "stained.png",
                "stained_labels.png",
                "YXC",
                "CC0-1.0",
                _BBBC038,
            ),
            Sample(
                "embryo",
                "Nuclei of a mouse embryo, fluorescence stack",
                "embryo.tif",
                "embryo_labels.tif",
                "ZYX",
                "MIT",
                "funalab/QCANet, copyright (c) 2018 funalab",
            ),
        )
    }
)


def sample_path(name: str) -> Path:
    """Return the path of a sample image.

    Raises
    ------
    ReadError
        If there is no sample of that name or its file is missing from the installation.
    """
    return _existing(_get(name).file)


def sample_labels_path(name: str) -> Path:
    """Return the path of a sample's reference labels.

    Raises
    ------
    ReadError
        If there is no sample of that name or its file is missing from the installation.
    """
    return _existing(_get(name).labels_file)


def _get(name: str) -> Sample:
    if name not in SAMPLES:
        raise ReadError(f"There is no sample {name!r}; choose one of {', '.join(SAMPLES)}.")
    return SAMPLES[name]


def _existing(file: str) -> Path:
    path = _FOLDER / file
    if not path.is_file():
        raise ReadError(f"The sample file {path} is missing; install the package again.")
    return path
