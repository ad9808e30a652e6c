"""Slices → volume: label images of successive slices, linked into 3-D objects or tracks in time.

The last step of volumes that are labelled slice by slice. A `SliceLinker` is fed one slice after
the other and keeps only those that an object may still be linked to, so a stack of any length is
linked in the memory of ``max_gap + 1`` slices and a few numbers for each object and slice.

Objects are linked one to one, the pair of largest IoU first (Hungarian matching maximises the sum
of all overlaps, and may give up a good pair for two poor ones). So a cross-section that touches two
objects of the next slice goes on as one of them and the other begins: a wrong merge in one slice
does not chain a tissue together. What finds no partner in the slice above is compared with the
slices above that, up to ``max_gap`` slices further, where objects wait that were not seen since.
Only where objects move (``max_shift_px``) the sum of all scores decides, because every cell of a
flock may be nearest to where its neighbour was.

Round objects that lie on top of each other overlap like one. They are told apart by their waist: a
cross-section that is smaller than on both sides.
"""

from __future__ import annotations

from collections import deque
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from litesam.errors import ConfigError, ImageError
from litesam.merge.bridge import Shape, shape_of
from litesam.merge.overlaps import count_overlaps, strips_of
from litesam.types import AnyArray, BoolArray, FloatArray, IntArray, LabelArray, LinkConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litesam.merge.overlaps import Overlaps


@dataclass(frozen=True, slots=True)
class Gap:
    """Slices in which a linked object is missing, to be filled by `bridge`.

    Attributes
    ----------
    above, below
        The slices on both sides, counted from the first that was added; the object is missing in
        ``above + 1 … below - 1``.
    label_above, label_below
        The object's number in those slices, as it was given to `SliceLinker.add`.
    id
        The object's id in the volume.
    """

    above: int
    below: int
    label_above: int
    label_below: int
    id: int


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """How the objects of slices become those of the volume.

    Attributes
    ----------
    ids
        For every slice (N + 1,) int64: ``ids[slice][label]`` is the id in the volume, 1 … ``count``
        in the order of first sight; 0 for background and for objects seen in too few slices.
    gaps
        Where objects that go on are missing, by slice.
    extents
        (count + 1, 2) int64: first and last slice of each id; row 0 is -1.
    """

    ids: tuple[IntArray, ...]
    gaps: tuple[Gap, ...]
    extents: IntArray

    @property
    def count(self) -> int:
        """Number of objects of the volume."""
        return len(self.extents) - 1

    def relabel(self, index: int, labels: AnyArray) -> LabelArray:
        """Return one slice with the ids of the volume in place of its own numbers, (H, W) int32.

        Gaps are not filled here: see `gaps_of` and `bridge`.
        """
        return self.ids[index].astype(np.int32)[labels]

    def gaps_of(self, index: int) -> tuple[Gap, ...]:
        """Return the gaps that one slice lies in."""
        return tuple(gap for gap in self.gaps if gap.above < index < gap.below)


@dataclass(slots=True, eq=False)
class _Slice:
    """One slice of the window: what later slices are compared with."""

    labels: LabelArray
    areas: IntArray
    tracks: IntArray


class SliceLinker:
    """Link the objects of successive slices; fed slice by slice, in order.

    The result depends on the slices and the parameters alone: not on how the work was cut into
    blocks, nor on how the objects of a slice are numbered (but for the order of new ids).

    Parameters
    ----------
    config
        Parameters; None: the defaults.

    Examples
    --------
    >>> linker = SliceLinker(LinkConfig(max_gap=0))
    >>> linker.add(np.array([[1, 1, 0, 2]]))
    >>> linker.add(np.array([[0, 2, 0, 1]]))
    >>> [ids.tolist() for ids in linker.finish().ids]
    [[0, 1, 2], [0, 2, 1]]
    """

    def __init__(self, config: LinkConfig | None = None) -> None:
        self.config = config or LinkConfig()
        self._window: deque[_Slice] = deque(maxlen=self.config.max_gap + 1)
        self._tracks: list[IntArray] = []
        self._areas: list[IntArray] = []
        self._count = 0

    def __len__(self) -> int:
        """Return the number of slices that were added."""
        return len(self._tracks)

    def add(self, labels: AnyArray) -> None:
        """Link the next slice to the ones before it.

        Parameters
        ----------
        labels
            (H, W) integers: the objects of this slice alone, 1 … N, 0 is background. All slices
            have one shape. The array is copied.

        Raises
        ------
        ImageError
            If it is no label image, or of another shape than the slices before.
        """
        self._link(self._checked(labels), None)

    def add_counted(self, areas: IntArray, overlaps: Sequence[Overlaps]) -> None:
        """Link the next slice by what was counted elsewhere, without its pixels.

        The result is that of `add`. All slices of a stack are added in the same way.

        Parameters
        ----------
        areas
            (N + 1,) int64: pixels of each label of the slice; that of background does not matter.
        overlaps
            With the slice above, with the one above that …: ``max_gap + 1`` of them, fewer at the
            beginning of the stack; see `litesam.merge.count_overlaps`.

        Raises
        ------
        ConfigError
            If the parameters ask for more than overlaps (``max_shift_px``), or some are missing.
        """
        if self.config.max_shift_px > 0:
            raise ConfigError("Objects that move (max_shift_px) are found in pixels; use add.")
        if len(overlaps) != len(self._window):
            raise ConfigError(
                f"{len(overlaps)} overlaps were given for slice {len(self)}; it has to be compared "
                f"with {len(self._window)} slices."
            )
        areas = np.asarray(areas, dtype=np.int64)
        no_pixels = np.zeros((0, 0), dtype=np.int32)
        self._link(_Slice(no_pixels, areas, np.zeros(len(areas), dtype=np.int64)), overlaps)

    def _link(self, slice_: _Slice, counted: Sequence[Overlaps] | None) -> None:
        """Find the partners of a slice's objects, number the others, and keep it."""
        for lag, earlier in enumerate(reversed(self._window), start=1):
            above = self._open(lag)
            below = (slice_.tracks == 0) & (slice_.areas > 0)
            below[0] = False
            if above.any() and below.any():
                overlaps = (
                    count_overlaps(strips_of(earlier.labels, slice_.labels))
                    if counted is None
                    else counted[lag - 1]
                )
                for i, j in _matches(earlier, slice_, overlaps, above, below, lag, self.config):
                    slice_.tracks[j] = earlier.tracks[i]
        begins = np.flatnonzero((slice_.tracks == 0) & (slice_.areas > 0))
        begins = begins[begins > 0]
        slice_.tracks[begins] = self._count + 1 + np.arange(len(begins))
        self._count += len(begins)
        self._tracks.append(slice_.tracks)
        self._areas.append(slice_.areas)
        self._window.append(slice_)

    def finish(self) -> Links:
        """Return the links of all slices so far; more slices may be added afterwards."""
        numbers, count = self._tracks, self._count
        if self.config.waist > 0:
            numbers, count = _cut_at_waists(numbers, self._areas, self.config.waist)
        seen = np.zeros(count + 1, dtype=np.int64)
        first = np.full(count + 1, -1, dtype=np.int64)
        last = np.full(count + 1, -1, dtype=np.int64)
        last_label = np.zeros(count + 1, dtype=np.int64)
        missing: list[tuple[int, int, int, int, int]] = []
        for index, tracks in enumerate(numbers):
            here = np.flatnonzero(tracks)
            of = tracks[here]
            for track, label in zip(of, here, strict=True):
                if 0 <= last[track] < index - 1:
                    above, label_above = int(last[track]), int(last_label[track])
                    missing.append((above, index, label_above, int(label), int(track)))
            seen[of] += 1
            first[of[first[of] < 0]] = index
            last[of], last_label[of] = index, here
        stays = seen >= self.config.min_extent
        stays[0] = False
        ids = np.where(stays, np.cumsum(stays), 0)
        extents = np.concatenate([[[-1, -1]], np.stack([first, last], axis=1)[stays]])
        gaps = (Gap(a, b, i, j, int(ids[track])) for a, b, i, j, track in missing if stays[track])
        return Links(
            tuple(ids[tracks] for tracks in numbers),
            tuple(sorted(gaps, key=lambda gap: (gap.above, gap.below, gap.id))),
            extents,
        )

    # --------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, AnyArray]:
        """Return all that is needed to go on later, as plain arrays (`numpy.savez` takes them)."""
        lengths = [len(tracks) for tracks in self._tracks]
        empty = np.zeros(0, dtype=np.int64)
        return {
            "config": np.array([repr(value) for value in astuple(self.config)]),
            "lengths": np.array(lengths, dtype=np.int64),
            "tracks": np.concatenate([empty, *self._tracks]),
            "areas": np.concatenate([empty, *self._areas]),
            "window": np.array([slice_.labels for slice_ in self._window], dtype=np.int32),
        }

    @classmethod
    def from_state(cls, config: LinkConfig, state: Mapping[str, AnyArray]) -> SliceLinker:
        """Return a linker that goes on where `state` was called.

        Raises
        ------
        ConfigError
            If the parameters are others than those of the state.
        """
        linker = cls(config)
        wanted = [repr(value) for value in astuple(linker.config)]
        if np.asarray(state["config"]).tolist() != wanted:
            raise ConfigError(
                "The saved state of the linker was made with other parameters "
                f"({', '.join(np.asarray(state['config']).tolist())}) than {', '.join(wanted)}; "
                "go on with the same, or begin anew."
            )
        ends = np.cumsum(state["lengths"])[:-1]
        if len(state["lengths"]):
            linker._tracks = np.split(state["tracks"].copy(), ends)
            linker._areas = np.split(state["areas"].copy(), ends)
        linker._count = int(state["tracks"].max(initial=0))
        window = state["window"]
        first = len(linker) - len(window)
        for labels, areas, tracks in zip(
            window, linker._areas[first:], linker._tracks[first:], strict=True
        ):
            linker._window.append(_Slice(labels.copy(), areas, tracks))
        return linker

    # ------------------------------------------------------------------------------------ internals

    def _checked(self, labels: AnyArray) -> _Slice:
        labels = np.asarray(labels)
        number = len(self)
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise ImageError(
                f"Slice {number} has shape {labels.shape} and dtype {labels.dtype}; labels are "
                "(H, W) integers."
            )
        if self._window and labels.shape != self._window[-1].labels.shape:
            raise ImageError(
                f"Slice {number} has shape {labels.shape}, the slices before it have "
                f"{self._window[-1].labels.shape}; all slices of a stack have one shape."
            )
        low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
        if low < 0 or high > labels.size:
            raise ImageError(
                f"Slice {number} has labels from {low} to {high}; number the objects of every "
                "slice 1 … N, with 0 as background."
            )
        areas = np.bincount(labels.ravel(), minlength=high + 1).astype(np.int64)
        return _Slice(labels.astype(np.int32), areas, np.zeros(high + 1, dtype=np.int64))

    def _open(self, lag: int) -> BoolArray:
        """(N + 1,) which objects of the slice ``lag`` slices ago were not seen since."""
        tracks = self._window[-lag].tracks
        later = [self._window[-k].tracks for k in range(1, lag)]
        is_open: BoolArray = tracks > 0
        if later:
            is_open &= ~np.isin(tracks, np.concatenate(later))
        return is_open


# ----------------------------------------------------------------------------------------- matching


def _matches(
    above: _Slice,
    below: _Slice,
    overlaps: Overlaps,
    open_above: BoolArray,
    open_below: BoolArray,
    lag: int,
    config: LinkConfig,
) -> list[tuple[int, int]]:
    """One-to-one pairs (label above, label below); without movement those of largest IoU first.

    Equal ones are decided by their common pixels and then by their place, so that the numbering
    within a slice says nothing.
    """
    pairs, common, place = overlaps
    wanted = open_above[pairs[:, 0]] & open_below[pairs[:, 1]]
    pairs, common, place = pairs[wanted], common[wanted], place[wanted]
    areas = np.stack([above.areas[pairs[:, 0]], below.areas[pairs[:, 1]]], axis=1)
    iou = common / (areas.sum(axis=1) - common)
    overlap = iou if config.measure == "iou" else common / areas.min(axis=1)
    good = overlap >= config.min_overlap
    pairs, iou, common, place = pairs[good], iou[good], common[good], place[good]
    if config.max_shift_px > 0:
        return _assigned(above, below, open_above, open_below, pairs, iou, lag, config)
    taken_above, taken_below = ~open_above, ~open_below
    result = []
    for row in np.lexsort((place, -common, -iou)):
        i, j = (int(label) for label in pairs[row])
        if not (taken_above[i] or taken_below[j]):
            taken_above[i] = taken_below[j] = True
            result.append((i, j))
    return result


def _assigned(
    above: _Slice,
    below: _Slice,
    open_above: BoolArray,
    open_below: BoolArray,
    pairs: IntArray,
    iou: FloatArray,
    lag: int,
    config: LinkConfig,
) -> list[tuple[int, int]]:
    """Pairs for objects that move: those of the largest sum of scores.

    A moving cell may stand where its neighbour was, so the best single pair says little. A pair
    counts if the objects overlap, by their IoU, or if their centroids are near and the shapes agree
    once one is moved onto the other, by the IoU of the shapes, up to halved with the distance.
    """
    first, second = _shapes(above.labels, open_above), _shapes(below.labels, open_below)
    scores = {(int(i), int(j)): float(v) for (i, j), v in zip(pairs, iou, strict=True)}
    reach = config.max_shift_px * lag
    names = list(second)
    tree = cKDTree([second[name].centre for name in names])
    for i, shape in first.items():
        for position in tree.query_ball_point(shape.centre, reach):
            j = names[position]
            aligned = _aligned_iou(shape, second[j])
            if aligned >= config.min_overlap:
                distance = float(np.hypot(*np.subtract(shape.centre, second[j].centre)))
                score = aligned * (1.0 - 0.5 * distance / reach)
                scores[i, j] = max(score, scores.get((i, j), 0.0))
    # In the order of places, so that the numbering says nothing where sums are equal.
    rows = sorted({i for i, _ in scores}, key=lambda i: first[i].first)
    columns = sorted({j for _, j in scores}, key=lambda j: second[j].first)
    row_of = {name: number for number, name in enumerate(rows)}
    column_of = {name: number for number, name in enumerate(columns)}
    places = [(row_of[i], column_of[j]) for i, j in scores]
    graph = coo_matrix(
        (list(scores.values()), tuple(np.reshape(places, (-1, 2)).T)),
        shape=(len(rows), len(columns)),
    )
    return [(rows[i], columns[j]) for i, j in largest_sum(graph)]


def largest_sum(graph: coo_matrix) -> list[tuple[int, int]]:
    """One-to-one pairs (row, column) with the largest sum, solved for each connected part alone."""
    rows, columns = graph.shape
    links = coo_matrix((graph.data, (graph.row, graph.col + rows)), shape=(rows + columns,) * 2)
    count, part = connected_components(links, directed=False)
    by_part: list[list[int]] = [[] for _ in range(count)]
    for entry, name in enumerate(part[graph.row]):
        by_part[name].append(entry)
    found = []
    for entries in by_part:
        here, there = np.unique(graph.row[entries]), np.unique(graph.col[entries])
        sums = np.zeros((len(here), len(there)))
        sums[
            np.searchsorted(here, graph.row[entries]), np.searchsorted(there, graph.col[entries])
        ] = graph.data[entries]
        for i, j in zip(*linear_sum_assignment(sums, maximize=True), strict=True):
            if sums[i, j] > 0:
                found.append((int(here[i]), int(there[j])))
    return found


def _shapes(labels: LabelArray, wanted: BoolArray) -> dict[int, Shape]:
    found = {}
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or not wanted[label]:
            continue
        found[label] = shape_of(labels[box] == label, (box[0].start, box[1].start), labels.shape[1])
    return found


def _aligned_iou(first: Shape, second: Shape) -> float:
    """IoU of two shapes with their centroids on top of each other, to the pixel."""
    y, x = (
        round(second.origin[axis] - second.centre[axis] + first.centre[axis]) - first.origin[axis]
        for axis in (0, 1)
    )
    (h, w), (k, m) = first.crop.shape, second.crop.shape
    mine = first.crop[max(y, 0) : min(y + k, h), max(x, 0) : min(x + m, w)]
    other = second.crop[max(-y, 0) : min(h - y, k), max(-x, 0) : min(w - x, m)]
    common = np.count_nonzero(mine & other) if mine.size and other.size else 0
    union = np.count_nonzero(first.crop) + np.count_nonzero(second.crop) - common
    return common / union


# ------------------------------------------------------------------------------------------- waists


def _cut_at_waists(
    numbers: list[IntArray], areas: list[IntArray], waist: float
) -> tuple[list[IntArray], int]:
    """Give what lies below a waist another number; returns the numbers of each slice, and the
    largest.

    Numbers stay in the order in which objects are first seen, by slice and then by label.
    """
    if not numbers:
        return numbers, 0
    tracks, area = np.concatenate(numbers), np.concatenate(areas)
    order = np.argsort(tracks, kind="stable")  # by track, then by slice
    order = order[tracks[order] > 0]
    borders = np.flatnonzero(np.diff(tracks[order])) + 1
    begin = np.full(len(tracks), -1, dtype=np.int64)  # where the piece of each entry begins
    for members in np.split(order, borders):
        for piece in np.split(members, _waists(area[members], waist)):
            begin[piece] = piece[:1]
    names = np.unique(begin[begin >= 0])  # in order of first sight
    cut = np.where(begin >= 0, np.searchsorted(names, begin) + 1, 0)
    ends = np.cumsum([len(part) for part in numbers])[:-1]
    return np.split(cut, ends), len(names)


def _waists(area: IntArray, waist: float) -> list[int]:
    """Positions at which a series of cross-sections is cut, the narrowest first, then each part."""
    found, parts = [], [(0, len(area))]
    while parts:
        start, stop = parts.pop()
        if stop - start < 3:
            continue
        profile = area[start:stop]
        before = np.maximum.accumulate(profile)[:-2]
        after = np.maximum.accumulate(profile[::-1])[::-1][2:]
        ratio = profile[1:-1] / np.minimum(before, after)
        narrowest = int(ratio.argmin())
        if ratio[narrowest] <= waist:
            cut = start + narrowest + 1
            found.append(cut)
            parts += [(start, cut), (cut, stop)]
    return sorted(found)
