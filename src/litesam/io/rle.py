"""Run lengths of masks, in COCO's order and text.

A mask is read column by column; the counts are lengths of runs, of background first. COCO's
compressed text (the ``counts`` of a "compressed RLE") writes every count, from the third on as its
difference to the one two before, in groups of five bits as characters from ``0`` on.

Source of the format: Lin et al. 2014, "Microsoft COCO", and its public description; own code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from litesam.types import BoolArray, Box

_FIRST = 48  # the character 0
_BITS, _MORE, _SIGN = 0x1F, 0x20, 0x10


def run_lengths(mask: npt.ArrayLike) -> list[int]:
    """Return the run lengths of a (H, W) mask, column by column, background first.

    The sum is H · W; of an empty mask there is one count.
    """
    flat = np.asarray(mask, dtype=np.bool_).ravel(order="F")
    if flat.size == 0:
        return [0]
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else counts


def run_lengths_in_plane(crop: BoolArray, box: Box, shape_yx: tuple[int, int]) -> list[int]:
    """Return the run lengths of a mask, given in its bounding box, in a plane of that shape."""
    height, width = shape_yx
    columns = np.zeros((height, box.x1 - box.x0), dtype=np.bool_)
    columns[box.y0 : box.y1] = crop
    counts = run_lengths(columns)
    counts[0] += box.x0 * height
    rest = (width - box.x1) * height
    if len(counts) % 2:  # the last run is background
        counts[-1] += rest
    elif rest:
        counts.append(rest)
    return counts


def mask_from_runs(counts: Sequence[int], shape_yx: tuple[int, int]) -> BoolArray:
    """Return the (H, W) mask of run lengths.

    Raises
    ------
    ReadError
        If the counts do not add up to H · W.
    """
    lengths = np.asarray(counts, dtype=np.int64)
    size = shape_yx[0] * shape_yx[1]
    if (lengths < 0).any() or int(lengths.sum()) != size:
        raise ReadError(
            f"The run lengths add up to {int(lengths.sum())} pixels, a mask of {shape_yx} has "
            f"{size}; the data are damaged."
        )
    flat = np.repeat(np.arange(lengths.size) % 2 == 1, lengths)
    return np.ascontiguousarray(flat.reshape(shape_yx, order="F"))


def runs_to_text(counts: Sequence[int]) -> str:
    """Return COCO's compressed text of run lengths."""
    signs = bytearray()
    for place, count in enumerate(counts):
        value = int(count) - (int(counts[place - 2]) if place > 2 else 0)
        while True:
            bits = value & _BITS
            value >>= 5
            more = value != -1 if bits & _SIGN else value != 0
            signs.append(_FIRST + (bits | _MORE if more else bits))
            if not more:
                break
    return signs.decode("ascii")


def runs_from_text(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed text.

    Raises
    ------
    ReadError
        If the text is no such text.
    """
    counts: list[int] = []
    value = shift = 0
    for sign in text.encode("utf-8"):
        bits = sign - _FIRST
        if not 0 <= bits < 64:
            raise ReadError(f"{text[:40]!r} are no compressed run lengths of COCO.")
        value |= (bits & _BITS) << shift
        shift += 5
        if bits & _MORE:
            continue
        if bits & _SIGN:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ReadError(f"The run lengths {text[:40]!r} end in the middle of a number.")
    return counts
