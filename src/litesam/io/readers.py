"""Read images: TIFF (plain, ImageJ, OME), PNG, JPEG, OME-Zarr 0.4 and 0.5, .npy.

Small files are read at once; uncompressed TIFF and .npy larger than `LAZY_BYTES` are memory-mapped,
other large TIFF are read page by page through dask, OME-Zarr always through dask (level 0).
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import ReadError
from litesam.io.ome_zarr import ReadableArray, is_zarr, label_names, open_pyramid
from litesam.io.units import factor_between, unit_name

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import numpy.typing as npt

#: Files whose pixels take more than this are opened lazily.
LAZY_BYTES = 256 * 1024**2

_AXES = frozenset("TCZYX")
_SUFFIXES = (".ome.tiff", ".ome.tif", ".ome.zarr", ".tiff", ".tif", ".zarr", ".jpeg")


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """An image as its file says.

    Attributes
    ----------
    array
        numpy array, memory map or dask array.
    axes
        One letter of T, C, Z, Y, X for each axis, or None where the file does not say.
    scale
        Spacing of the pixels along each axis (1 for C), or None.
    name
        File name without folder and ending.
    unit
        Unit of the scale, or None.
    translation
        Where the first pixel lies along each axis, in ``unit``; None: at 0.
    """

    array: Any
    axes: str | None
    scale: tuple[float, ...] | None
    name: str
    unit: str | None = None
    translation: tuple[float, ...] | None = None


def stem(path: str | os.PathLike[str]) -> str:
    """Return a file's name without folder and ending (``.ome.tif`` is one ending)."""
    name = Path(path).name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def read_image(path: str | os.PathLike[str]) -> ImageData:
    """Read one image.

    Parameters
    ----------
    path
        A .tif/.tiff, .png, .jpg or .npy file, an OME-Zarr folder (also a group inside one, such
        as ``labels/name``), or a folder of images of one size: the planes of a stack, in the order
        of their names, which are read when they are asked for.

    Raises
    ------
    ReadError
        If the file is missing, empty, truncated or of an unsupported format.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    try:
        if not source.exists():
            raise ReadError(f"{source} does not exist; check the name and the folder.")
        if source.is_dir():
            return _read_folder(source)
        if not source.is_file():
            raise ReadError(f"{source} is neither a file nor a folder, but a device or a pipe.")
        if source.stat().st_size == 0:
            raise ReadError(f"{source} is empty (0 bytes); copy or export it again.")
        with source.open("rb") as file:
            head = file.read(16)
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(
            f"{source} cannot be read: {error.strerror or error}; check the name and the "
            f"permissions."
        ) from error
    if head[:2] in (b"II", b"MM") and head[2:4] in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return _read_tiff(source)
    if head.startswith(b"\x93NUMPY"):
        return _read_npy(source)
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return _read_pillow(source)
    if suffix in (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".npy"):
        raise ReadError(f"{source} is not a {suffix[1:].upper()} file, or it is damaged.")
    raise ReadError(
        f"The format of {source} is not supported; convert it to TIFF, PNG, JPEG, OME-Zarr or .npy."
    )


def read_labels(path: str | os.PathLike[str], name: str | None = None) -> ImageData:
    """Read a label image as `write_labels` writes it.

    Parameters
    ----------
    path
        A .tif, .png or .npy file, or an OME-Zarr image with ``labels``, or a label image itself.
    name
        Which label image of an OME-Zarr; None: the first.

    Raises
    ------
    ReadError
        If it cannot be read, has no such labels, or the pixels are not whole numbers.
    """
    source = Path(path)
    if source.is_dir():
        names = label_names(source)
        if name is not None and name not in names:
            raise ReadError(
                f"{source} has no labels {name!r}; it has {', '.join(names) or 'none'}."
            )
        if names:
            source = source / "labels" / (name or names[0])
    image = read_image(source)
    if np.dtype(image.array.dtype).kind not in "iu":
        raise ReadError(
            f"{source} has pixels of type {image.array.dtype}; labels are whole numbers, so save "
            "them as integers, such as uint16, each object with a number of its own."
        )
    return image


# --------------------------------------------------------------------------------------------- TIFF


class _Complaints(logging.Handler):
    """Collects what tifffile reports about a damaged file instead of raising (this thread only)."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.messages.append(record.getMessage())

    @property
    def damage(self) -> str | None:
        """The first message that means lost pages; others (odd vendor tags) are harmless."""
        for message in self.messages:
            if "invalid page offset" in message or "corrupted" in message:
                return message
        return None


@contextlib.contextmanager
def _tiff_complaints() -> Iterator[_Complaints]:
    """Listen to tifffile: a file cut between pages reads as a shorter stack and a log message."""
    logger = logging.getLogger("tifffile")
    handler = _Complaints()
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)


def _read_tiff(path: Path) -> ImageData:
    import tifffile

    with _tiff_complaints() as complaints:
        try:
            with tifffile.TiffFile(path) as tiff:
                if not tiff.series:
                    raise ReadError(f"{path} is a TIFF file without an image.")
                series = tiff.series[0]
                array = _tiff_pixels(path, series)
                letters = series.axes
                if "S" in letters and not letters.endswith("S"):  # colours in planes: put them last
                    place = letters.index("S")
                    order = [k for k in range(array.ndim) if k != place]
                    array = array.transpose([*order, place])
                    letters = letters.replace("S", "") + "S"
                axes = _tiff_axes(letters)
                scale, unit = _tiff_scale(tiff, axes) if axes else (None, None)
        except ReadError:
            raise
        except MemoryError as error:
            raise ReadError(
                f"{path} is too large for the memory; crop it or use OME-Zarr."
            ) from error
        except Exception as error:  # tifffile and its codecs raise all kinds on damaged files
            raise ReadError(
                f"{path} cannot be read as TIFF; it is truncated, damaged or of an unsupported "
                f"kind ({error})."
            ) from error
    if complaints.damage is not None:
        raise ReadError(f"{path} is truncated or damaged ({complaints.damage}); copy it again.")
    return ImageData(array, axes, scale, stem(path), unit)


def _tiff_axes(axes: str) -> str | None:
    """Axes in our letters; None if the file leaves one open (tifffile's Q, I) or has others."""
    ours = axes.replace("S", "C")
    return ours if set(ours) <= _AXES and len(set(ours)) == len(ours) else None


def _tiff_pixels(path: Path, series: Any) -> Any:
    """Pixels of a series, lazily if there are many."""
    if series.nbytes <= LAZY_BYTES:
        return series.asarray()
    import tifffile

    if series.dataoffset is not None:
        return tifffile.memmap(path, series=0, mode="r")
    pages = list(series.pages)
    page_shape = tuple(series.keyframe.shape)
    if None in pages or len(pages) * int(np.prod(page_shape)) != series.size:
        return series.asarray()
    import dask
    import dask.array as da

    read = dask.delayed(_read_page, pure=True)
    planes = [
        da.from_delayed(read(path, page), shape=page_shape, dtype=series.dtype)
        for page in range(len(pages))
    ]
    return da.stack(planes).reshape(series.shape)


def _read_page(path: Path, page: int) -> npt.NDArray[Any]:
    """Pixels of one page; opens the file anew, so that it works in any thread or process."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return np.asarray(tiff.series[0].pages[page].asarray())
    except Exception as error:
        raise ReadError(f"Page {page} of {path} cannot be read ({error}).") from error


def _tiff_scale(tiff: Any, axes: str) -> tuple[tuple[float, ...] | None, str | None]:
    """Pixel spacing from OME or ImageJ metadata; dots per inch say nothing of a specimen."""
    steps: dict[str, float] = {}
    unit: str | None = None
    if tiff.is_ome and tiff.ome_metadata:
        pixels = re.search(r"<(?:\w+:)?Pixels\b([^>]*)>", tiff.ome_metadata)
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', pixels.group(1))) if pixels else {}
        sizes = {axis: _positive(attributes.get(f"PhysicalSize{axis}")) for axis in "XYZ"}
        units = {axis: unit_name(attributes.get(f"PhysicalSize{axis}Unit", "µm")) for axis in sizes}
        unit = units["X"] if sizes["X"] or "PhysicalSizeXUnit" in attributes else None
        steps = {axis: sizes[axis] * factor_between(units[axis], unit) for axis in sizes}
    elif tiff.is_imagej and tiff.imagej_metadata:
        metadata = tiff.imagej_metadata
        unit = metadata.get("unit")
        if unit not in (None, "", "pixel", "pixels", "inch"):
            tags = tiff.pages[0].tags
            for axis in "XY":
                tag = tags.get(f"{axis}Resolution")
                if tag is not None and tag.value[0]:
                    steps[axis] = tag.value[1] / tag.value[0]
            steps["Z"] = _positive(metadata.get("spacing"))
        else:
            unit = None
    elif tiff.is_shaped:
        extra: dict[str, Any] = (tiff.shaped_metadata or ({},))[0]
        stored = extra.get("scale")
        if isinstance(stored, list) and len(stored) == len(axes):
            return tuple(_positive(value) or 1.0 for value in stored), extra.get("unit")
    if not any(steps.values()):
        return None, None
    return (
        tuple(steps.get(axis) or 1.0 for axis in axes),
        unit_name(unit),
    )


def _positive(value: Any) -> float:
    """Number above zero, or 0 for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if np.isfinite(number) and number > 0 else 0.0


# ------------------------------------------------------------------------------- PNG, JPEG and .npy


def _read_pillow(path: Path) -> ImageData:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if picture.mode in ("P", "PA", "CMYK", "YCbCr", "HSV", "LAB"):
                    has_alpha = picture.mode == "PA" or "transparency" in picture.info
                    array = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
                elif picture.mode in ("LA", "La"):
                    array = np.asarray(picture)[..., 0]
                else:
                    array = np.asarray(picture)
    except Image.DecompressionBombError as error:
        raise ReadError(
            f"{path} is too large for this format; convert it to TIFF or OME-Zarr."
        ) from error
    except (
        Exception
    ) as error:  # Pillow raises OSError, SyntaxError, ValueError, zlib.error … on damaged files
        raise ReadError(f"{path} cannot be read; it is truncated or damaged ({error}).") from error
    return ImageData(array, "YX" if array.ndim == 2 else "YXC", None, stem(path))


def _read_npy(path: Path) -> ImageData:
    try:
        lazy = path.stat().st_size > LAZY_BYTES
        array = np.load(path, mmap_mode="r" if lazy else None, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        if "allow_pickle" in str(error):
            raise ReadError(
                f"{path} holds Python objects, which could run code when they are read; save an "
                "array of numbers."
            ) from error
        raise ReadError(f"{path} cannot be read; it is truncated or damaged ({error}).") from error
    if array.dtype.kind not in "biuf":
        raise ReadError(
            f"{path} has elements of type {array.dtype}; an image has real numbers (bool, integers "
            "or floats)."
        )
    return ImageData(array, None, None, stem(path))


# ----------------------------------------------------------------------------------------- OME-Zarr


def _read_folder(path: Path) -> ImageData:
    """An OME-Zarr, or images as the planes of a stack."""
    from litesam.io.lazy import open_folder

    if is_zarr(path) or path.name.lower().endswith(".zarr"):
        return _read_zarr(path)
    import dask.array as da

    stack = open_folder(path)
    planes = (1, *stack.array.shape[1:])
    lazy = da.from_array(stack.array, chunks=planes, name=False)
    return ImageData(lazy, stack.axes, stack.scale, stack.name, stack.unit)


def _read_zarr(path: Path) -> ImageData:
    import dask.array as da

    pyramid = open_pyramid(path)
    array = pyramid.levels[0]
    chunks = getattr(array, "shards", None) or array.chunks
    lazy = da.from_array(ReadableArray(array, path), chunks=chunks, name=False)
    return ImageData(
        lazy,
        pyramid.axes,
        pyramid.scales[0],
        stem(path),
        pyramid.unit,
        pyramid.translations[0],
    )
