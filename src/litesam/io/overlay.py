"""Pictures of a segmentation: the image under translucent colours and smooth outlines.

Small images are enlarged, because outlines need pixels; drawing happens at twice the size of the
result and is reduced, which gives smooth lines without a plotting library.
"""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litesam.errors import ImageError
from litesam.io.atomic import atomic_path

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from PIL import Image

RgbArray = npt.NDArray[np.uint8]

_TARGET_PX = 1400
_SUPERSAMPLED_UP_TO_PX = 3000
_BACKGROUND = (250, 250, 250)
_TEXT = (40, 40, 40)
_MAX_ZOOM = 8


def label_color(label: int) -> tuple[int, int, int]:
    """Return a label's colour: neighbours get distant hues (golden ratio), 0 is black."""
    if label == 0:
        return (0, 0, 0)
    hue = (0.13 + label * 0.618033988749895) % 1.0
    saturation = (0.85, 0.6, 0.72)[label % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 1.0)
    return (round(red * 255), round(green * 255), round(blue * 255))


def draw_overlay(
    rgb: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    zoom: int | None = None,
    fill: float = 0.28,
    line_px: float = 3.0,
) -> RgbArray:
    """Draw objects over an image.

    Parameters
    ----------
    rgb
        (H, W, 3) or (H, W) uint8 picture.
    labels
        (H, W) whole numbers, 0 = background.
    zoom
        Whole factor of enlargement; None: so that the longer side has about 1400 pixels, but not
        smaller than the image.
    fill
        Opacity of the objects' colour, 0–1.
    line_px
        Width of the outlines in the result.

    Returns
    -------
    array
        (zoom H, zoom W, 3) uint8.

    Raises
    ------
    ImageError
        If the shapes do not fit each other.
    """
    from PIL import Image, ImageDraw

    base, marks = _checked(rgb, labels)
    if zoom is None:
        zoom = _zoom_for(base.shape[:2])
    height, width = (n * zoom for n in base.shape[:2])
    supersampling = 2 if max(height, width) <= _SUPERSAMPLED_UP_TO_PX else 1
    factor = zoom * supersampling
    picture = _enlarged(base, zoom)
    layer = Image.new("RGBA", (width * supersampling, height * supersampling), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    opacity = round(255 * fill)
    outlines = []
    for label, contours in _outlines(marks):
        color = label_color(label)
        for contour, is_hole in contours:
            corners = [(x, y) for y, x in (contour + 0.5) * factor - 0.5]
            pen.polygon(corners, fill=(0, 0, 0, 0) if is_hole else (*color, opacity))
            outlines.append((corners, color))
    thickness = max(1, round(line_px * supersampling))
    for corners, color in outlines:
        pen.line([*corners, *corners[:2]], fill=(*color, 255), width=thickness, joint="curve")
    if supersampling > 1:
        layer = layer.resize((width, height), Image.Resampling.BOX)
    return np.asarray(Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB"))


def write_overlay(
    path: str | os.PathLike[str],
    rgb: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    overwrite: bool = False,
    zoom: int | None = None,
) -> Path:
    """Write an image with its objects drawn over it as PNG; see `draw_overlay`.

    Raises
    ------
    ImageError
        If the shapes do not fit each other.
    WriteError
        If the output exists or cannot be written.
    """
    return write_png(path, draw_overlay(rgb, labels, zoom=zoom), overwrite=overwrite)


def write_gallery(
    path: str | os.PathLike[str],
    panels: Sequence[tuple[str, npt.ArrayLike, npt.ArrayLike]],
    *,
    overwrite: bool = False,
    height_px: int = 460,
) -> Path:
    """Write several images side by side as PNG: above the images, below their objects.

    Parameters
    ----------
    path
        The output.
    panels
        Title, (H, W, 3) uint8 picture and (H, W) labels of each image.
    overwrite
        Replace an existing output.
    height_px
        Height of one image in the picture.

    Raises
    ------
    ImageError
        If there are no panels or shapes do not fit each other.
    WriteError
        If the output exists or cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not panels:
        raise ImageError("A gallery needs at least one image.")
    gap, title_px = 14, 44
    columns = []
    for title, rgb, labels in panels:
        base, marks = _checked(rgb, labels)
        zoom = max(1, min(_MAX_ZOOM, -(-2 * height_px // base.shape[0])))
        width = max(1, round(base.shape[1] * height_px / base.shape[0]))
        pair = [
            picture.resize((width, height_px), Image.Resampling.LANCZOS)
            for picture in (
                _enlarged(base, zoom),
                Image.fromarray(draw_overlay(base, marks, zoom=zoom, line_px=3.5)),
            )
        ]
        columns.append((title, width, pair))
    total = sum(width for _, width, _ in columns) + gap * (len(columns) + 1)
    sheet = Image.new("RGB", (total, title_px + 2 * (height_px + gap)), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=20)
    left = gap
    for title, width, pair in columns:
        pen.text((left, title_px // 2), title, fill=_TEXT, font=font, anchor="lm")
        for row, picture in enumerate(pair):
            sheet.paste(picture, (left, title_px + row * (height_px + gap)))
        left += width + gap
    return write_png(path, np.asarray(sheet), overwrite=overwrite)


def write_png(
    path: str | os.PathLike[str], rgb: npt.NDArray[Any], *, overwrite: bool = False
) -> Path:
    """Write an (H, W, 3) uint8 picture as PNG.

    Raises
    ------
    WriteError
        If the output exists or cannot be written.
    """
    from PIL import Image

    target = Path(path)
    with atomic_path(target, overwrite=overwrite) as part:
        Image.fromarray(rgb).save(part, format="PNG", compress_level=6)
    return target


def _checked(rgb: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[RgbArray, npt.NDArray[np.int64]]:
    """Picture as (H, W, 3) and labels of the same plane."""
    base, marks = np.asarray(rgb), np.asarray(labels)
    if base.ndim == 2:
        base = np.repeat(base[..., None], 3, axis=2)
    if base.ndim != 3 or base.shape[2] != 3 or base.dtype != np.uint8:
        raise ImageError(f"The picture is {base.shape} {base.dtype}; (H, W, 3) uint8 is needed.")
    if marks.shape != base.shape[:2] or marks.dtype.kind not in "biu":
        raise ImageError(
            f"The labels are {marks.shape} {marks.dtype}; whole numbers of shape {base.shape[:2]} "
            f"are needed."
        )
    return base, marks.astype(np.int64)


def _zoom_for(shape_yx: tuple[int, ...]) -> int:
    return max(1, min(_MAX_ZOOM, round(_TARGET_PX / max(shape_yx))))


def _enlarged(base: RgbArray, zoom: int) -> Image.Image:
    from PIL import Image

    picture = Image.fromarray(base)
    if zoom == 1:
        return picture
    size = (base.shape[1] * zoom, base.shape[0] * zoom)
    return picture.resize(size, Image.Resampling.BICUBIC)


def _outlines(
    labels: npt.NDArray[np.int64],
) -> list[tuple[int, list[tuple[npt.NDArray[np.float64], bool]]]]:
    """Closed outlines (y, x) of each object, and which surround a hole; large objects first."""
    from scipy.ndimage import find_objects
    from skimage.measure import find_contours

    values, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape)
    if values[0] != 0:  # no background at all: number 0 must stay free
        values, compact = np.concatenate([[0], values]), compact + 1
    result = []
    boxes = [(value, box) for value, box in enumerate(find_objects(compact), 1) if box is not None]
    boxes.sort(key=lambda entry: -_area(entry[1]))
    for value, box in boxes:
        mask = np.pad(compact[box] == value, 1).astype(np.float64)
        offset = np.array([box[0].start - 1, box[1].start - 1], dtype=np.float64)
        contours = [contour[:-1] for contour in find_contours(mask, 0.5)]
        areas = [_signed_area(contour) for contour in contours]
        outer_sign = np.sign(max(areas, key=abs)) if areas else 0.0
        pairs = [
            (_rounded(contour) + offset, bool(np.sign(area) != outer_sign))
            for contour, area in zip(contours, areas, strict=True)
        ]
        pairs.sort(key=lambda pair: pair[1])  # holes are cut after everything is filled
        result.append((int(values[value]), pairs))
    return result


def _area(box: tuple[slice, slice]) -> int:
    return int((box[0].stop - box[0].start) * (box[1].stop - box[1].start))


def _signed_area(contour: npt.NDArray[np.float64]) -> float:
    y, x = contour.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def _rounded(contour: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cut the corners of a closed line twice (Chaikin 1974); it moves by less than half a pixel."""
    for _ in range(2):
        following = np.roll(contour, -1, axis=0)
        cut = np.stack(
            [0.75 * contour + 0.25 * following, 0.25 * contour + 0.75 * following], axis=1
        )
        contour = cut.reshape(-1, 2)
    return contour
