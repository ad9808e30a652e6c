"""Which objects of two label images share pixels, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from litesam.types import AnyArray, IntArray, LabelArray

#: Pixels whose pairs of labels are counted at once.
_PIXELS_AT_ONCE = 4_000_000


class Overlaps(NamedTuple):
    """Pairs of objects that share pixels.

    Attributes
    ----------
    pairs
        (P, 2) int64: label in the first image, label in the second.
    common
        (P,) int64: how many pixels they share.
    first
        (P,) int64: the first of them, in raster order.
    """

    pairs: IntArray
    common: IntArray
    first: IntArray


def count_overlaps(strips: Iterable[tuple[AnyArray, AnyArray]]) -> Overlaps:
    """Count the pixels that the objects of two label images share.

    Counted in runs of pixels of one pair, which are far fewer than pixels.

    Parameters
    ----------
    strips
        Pairs of (h, W) labels below 2^31: all rows of both images from the first to the last, some
        at a time, so that neither has to be in memory.
    """
    codes, lengths, starts = [], [], []
    seen = 0
    for above, below in strips:
        code = above.astype(np.int64).ravel() << 32
        other = below.ravel()
        code |= other
        code[(code < 1 << 32) | (other == 0)] = 0
        ends = np.append(np.flatnonzero(code[1:] != code[:-1]) + 1, len(code))
        begins = np.append(0, ends[:-1])
        used = code[begins] > 0
        codes.append(code[begins][used])
        lengths.append((ends - begins)[used])
        starts.append(begins[used] + seen)
        seen += len(code)
    if not codes:
        return Overlaps(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    names, first, inverse = np.unique(np.concatenate(codes), return_index=True, return_inverse=True)
    common = np.bincount(inverse, weights=np.concatenate(lengths), minlength=len(names))
    pairs = np.stack([names >> 32, names & 0xFFFFFFFF], axis=1)
    return Overlaps(pairs, common.astype(np.int64), np.concatenate(starts)[first])


def strips_of(above: LabelArray, below: LabelArray) -> Iterator[tuple[LabelArray, LabelArray]]:
    """Rows of two images in memory, some at a time."""
    rows = max(1, _PIXELS_AT_ONCE // max(above.shape[1], 1))
    for row in range(0, above.shape[0], rows):
        yield above[row : row + rows], below[row : row + rows]
