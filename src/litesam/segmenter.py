"""Prompts → one object, without a window: what scripts and the plugin use.

A `Segmenter` holds one image and one model. It reads planes, has their tiles embedded when they are
needed, picks the tile that serves a prompt, decodes, and gives masks in pixels of the plane.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from litesam.decoding import decode_object, decode_objects
from litesam.embedder import Embedder
from litesam.errors import PromptError
from litesam.everything import closer_windows, find_objects, label_plane
from litesam.merge import SegmentResult, select_by_text
from litesam.predictors import as_predictor
from litesam.predictors.base import check_prompt_kinds
from litesam.preprocess import AnyPlane, as_array_like, open_plane
from litesam.preprocess.axes import plane_key, plane_shape, used_axes
from litesam.tiling import (
    closer_tile,
    find_whole,
    first_tile,
    has_mask,
    is_cut,
    is_same,
    make_tiles,
    tile_for_prompts,
    without_far_background,
)
from litesam.types import (
    MaskRecord,
    NormalizeConfig,
    Progress,
    Tile,
    TilingConfig,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from litesam.everything import BoxSource
    from litesam.merge import TextScorer
    from litesam.predictors import Predictor
    from litesam.store import EmbeddingStore
    from litesam.types import (
        EverythingConfig,
        HqMode,
        IsCancelled,
        LabelArray,
        OnProgress,
        Prompts,
    )

    Index = int | Sequence[int] | None

#: Planes kept in memory: the one that is shown, its neighbours in a stack, and one to return to.
PLANES_IN_MEMORY = 4


@dataclass(slots=True)
class _PlaneSlot:
    """A plane that is read once, by the first thread that needs it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    plane: AnyPlane | None = None


class Segmenter:
    """Segment objects of one image by prompts. Thread-safe.

    Parameters
    ----------
    image
        Any array-like (numpy, dask, zarr): 2-D, RGB(A), channels, stacks. Only planes that are
        asked for are read.
    model
        Name of a model, or a loaded predictor.
    axes
        Meaning of the axes, such as ``"YX"``, ``"YXC"`` or ``"ZYX"``; None: guessed from the shape.
    store
        Where embeddings are kept; None: in memory.
    channel
        Channel of a multi-channel image.
    normalize
        Mapping of intensities to 0–255. Without fixed ``limits`` the percentiles are those of each
        plane, in stacks too: no other plane has to be read, and a dim slice is as readable as a
        bright one. Give ``limits`` (see `litesam.preprocess.estimate_limits`) where the brightness
        of slices should stay comparable.
    tiling
        How large planes are cut.
    device, weights, hq
        For a model given by name: torch device, a weights file instead of its own, and the HQ
        mode, see `litesam.load_predictor`.

    Attributes
    ----------
    image, axes, channel
        What was given; ``axes`` as it is used.
    predictor, embedder
        The loaded model, and what embeds tiles with it.
    plane_shape
        (H, W) of every plane.
    tiles
        Tiles of every plane.

    Raises
    ------
    ImageError
        If the axes do not fit the image.
    UnknownModelError, WeightsError, ConfigError
        If the model cannot be loaded.

    Notes
    -----
    An index names one plane of a stack: ``(z,)`` or ``z`` for ``"ZYX"``, ``(t, z)`` for ``"TZYX"``,
    None for a 2-D image. The image must not change while a segmenter holds it; planes are cached.
    """

    def __init__(
        self,
        image: Any,
        model: str | Predictor = "lite_sam",
        axes: str | None = None,
        store: EmbeddingStore | None = None,
        *,
        channel: int | None = None,
        normalize: NormalizeConfig | None = None,
        tiling: TilingConfig | None = None,
        device: str = "auto",
        weights: str | Path | None = None,
        hq: HqMode = False,
    ) -> None:
        self.image = as_array_like(image)
        self.axes = used_axes(self.image, axes)
        self.channel = channel
        self.plane_shape = plane_shape(self.image, self.axes)
        self.tiles = make_tiles(self.plane_shape, tiling or TilingConfig())
        self.predictor: Predictor = as_predictor(model, weights, device, hq)
        self._normalize = normalize or NormalizeConfig()
        self.embedder = Embedder(self.predictor, store)
        self._planes: OrderedDict[tuple[int, ...], _PlaneSlot] = OrderedDict()
        self._planes_lock = threading.Lock()

    def with_model(
        self,
        model: str | Predictor,
        *,
        device: str = "auto",
        weights: str | Path | None = None,
        hq: HqMode = False,
    ) -> Segmenter:
        """Return a segmenter of the same image with another model, such as one with HQ.

        Planes and embeddings are shared: models of the same encoder with the same encoder weights,
        as SAM and HQ-SAM of one size, answer at once about what was embedded; for others the tiles
        are embedded again when they are needed.

        Parameters
        ----------
        model, device, weights, hq
            As for a new segmenter.

        Raises
        ------
        UnknownModelError, WeightsError, ConfigError
            If the model cannot be loaded.
        """
        other = copy.copy(self)
        other.predictor = as_predictor(model, weights, device, hq)
        other.embedder = self.embedder.with_predictor(other.predictor)
        return other

    # ---------------------------------------------------------------------------------- embeddings

    def plane(self, index: Index = None) -> AnyPlane:
        """Return a plane as the model sees it; a large one is read by regions.

        Raises
        ------
        ImageError
            If the index does not choose one plane.
        """
        key = plane_key(index)
        with self._planes_lock:
            slot = self._planes.setdefault(key, _PlaneSlot())
            self._planes.move_to_end(key)
            while len(self._planes) > PLANES_IN_MEMORY:
                self._planes.popitem(last=False)
        with slot.lock:
            if slot.plane is None:
                where = (self.axes, key or None, self.channel)
                slot.plane = open_plane(self.image, *where, self._normalize)
            return slot.plane

    def embed(
        self,
        index: Index = None,
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> None:
        """Embed all tiles of one plane, so that prompts on it are answered at once.

        Tiles that are in the store are skipped; after a cancel the finished ones are kept.

        Raises
        ------
        ImageError
            If the index does not choose one plane.
        Cancelled
            If ``cancelled`` said so.
        """
        self.embedder.embed_all(
            self.plane(index), self.tiles, on_progress=on_progress, cancelled=cancelled
        )

    def is_embedded(self, index: Index = None) -> bool:
        """Whether all tiles of a plane are in the store."""
        plane = self.plane(index)
        return all(self.embedder.is_embedded(plane, tile) for tile in self.tiles)

    def is_ready(self, prompts: Prompts, index: Index = None) -> bool:
        """Whether `segment` needs no encoder for these prompts; raises `PromptError` as it does."""
        return self.embedder.is_embedded(self.plane(index), self._tile_for(prompts))

    def closer_windows(self, index: Index = None) -> list[Tile]:
        """Return the windows in which clicks on small objects of a plane are answered.

        With a model that `looks_closer`, `segment` embeds them when they are needed; whoever embeds
        them before has the answers at once.

        Returns
        -------
        list of Tile
            Windows around what AutoPPN finds in those tiles that are embedded; the windows of most
            objects first. Empty for other models.

        Raises
        ------
        ImageError
            If the index does not choose one plane.
        """
        plane = self.plane(index)
        seen = [tile for tile in self.tiles if self.embedder.is_embedded(plane, tile)]
        return closer_windows(self.embedder, plane, self.tiles, seen)

    def _tile_for(self, prompts: Prompts) -> Tile:
        return first_tile(self.predictor.spec, self.tiles, prompts, self.plane_shape)

    def _closer_to(self, record: MaskRecord, prompts: Prompts, tile: Tile) -> Tile | None:
        return closer_tile(self.predictor.spec, record, prompts, tile, self.plane_shape)

    # ------------------------------------------------------------------------------------- prompts

    def segment(
        self,
        prompts: Prompts,
        index: Index = None,
        *,
        multimask: bool | None = None,
        tile: Tile | None = None,
        whole: bool = True,
    ) -> SegmentResult:
        """Segment the object that the prompts describe.

        Parameters
        ----------
        prompts
            Points and box of one object, in pixels of the plane. A box may reach over the border
            of the plane. ``low_res_mask`` belongs to the tile of an earlier result: give ``tile``
            as well.
        index
            The plane.
        multimask
            Decode three candidates and take the one of highest predicted IoU. None: for a single
            point without box or mask, which is ambiguous.
        tile
            Tile to decode; None: the one that shows most of the surroundings of the prompts.
            Background points outside of it are left out.
        whole
            Look at an object that is large for its tile, or reaches its border, in wider windows,
            at a coarser scale, and, with a model that `looks_closer`, at one that is small in its
            tile in a smaller window; these are embedded for it. False: only closer, and only where
            the window is embedded already. Not with ``tile`` or ``low_res_mask``.

        Returns
        -------
        SegmentResult
            The mask may be empty if the decoder finds nothing.

        Raises
        ------
        PromptError
            If a prompt lies outside the plane, the prompts span more than one tile can show, or the
            model does not take such prompts or so many points.
        ImageError
            If the index does not choose one plane.
        """

        def decode(window: Tile) -> SegmentResult:
            return decode_object(self.embedder, self.plane(index), prompts, window, multimask)

        if tile is not None:
            return decode(tile)
        found = decode(self._tile_for(prompts) if whole else tile_for_prompts(self.tiles, prompts))
        window = self._closer_to(found.record, prompts, found.tile)
        if window is not None and (whole or self.embedder.is_embedded(self.plane(index), window)):
            closer = decode(window)
            found = closer if is_same(closer.record, found.record) else found
        if not whole or has_mask(prompts):
            return found
        return find_whole(found, decode, self.plane_shape)

    def segment_many(
        self,
        prompts: Sequence[Prompts],
        index: Index = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> list[MaskRecord]:
        """Segment many objects of one plane, each as `segment` would.

        Prompts of the same tile and kind are decoded together, and ``on_progress`` is told of them.

        Returns
        -------
        list of MaskRecord
            One for each of ``prompts``, in their order.

        Raises
        ------
        PromptError
            If a prompt lies outside the plane or is none that the model takes; the message says
            which.
        ImageError
            If the index does not choose one plane.
        """
        where: dict[int, Tile] = {}
        for number, given in enumerate(prompts):
            try:
                where[number] = self._tile_for(given)
                one = without_far_background(given, where[number])
                check_prompt_kinds(one.to_batch(), self.predictor.spec)
            except PromptError as error:
                raise PromptError(f"Prompt {number}: {error}") from error
        records: dict[int, MaskRecord] = {}
        plane = self.plane(index)
        for found in decode_objects(self.embedder, plane, prompts, where):
            records.update(found)
            if on_progress is not None:
                on_progress(Progress(len(records), len(prompts), f"{len(prompts)} prompts"))
        closer: dict[int, Tile] = {}
        for number, given in enumerate(prompts):
            window = self._closer_to(records[number], given, where[number])
            if window is not None:
                closer[number] = window
        for found in decode_objects(self.embedder, plane, prompts, closer):
            for number, record in found.items():
                if is_same(record, records[number]):
                    records[number], where[number] = record, closer[number]
        for number, given in enumerate(prompts):
            cut = is_cut(records[number], where[number], self.plane_shape)
            if cut and not has_mask(given):
                records[number] = self.segment(given, index).record
        return [records[number] for number in range(len(prompts))]

    def segment_text(
        self,
        text: str,
        index: Index = None,
        *,
        scorer: TextScorer,
        objects: Sequence[MaskRecord] | None = None,
    ) -> MaskRecord | None:
        """Choose the object of a plane that fits the words best.

        Parameters
        ----------
        text, index
            What is looked for, such as ``"a large dark nucleus"``, and the plane.
        scorer
            See `litesam.predictors.load_text_scorer`.
        objects
            Masks to choose from; None: those of `find_objects`.

        Returns
        -------
        MaskRecord or None
            Its ``score`` is its share, in [0, 1], of the fit of all; None where nothing was found.

        Raises
        ------
        PromptError, ImageError
            If the text is empty or too long; if the index does not choose one plane.
        """
        if not text.strip():  # before the plane is searched, which takes seconds
            raise PromptError("The text is empty; say what to look for.")
        records = self.find_objects(index) if objects is None else objects
        match = select_by_text(records, self.plane(index).rgb, text, scorer)
        return None if match is None else replace(records[match.index], score=match.share)

    def everything(
        self,
        index: Index = None,
        *,
        proposals: str | None = None,
        config: EverythingConfig | None = None,
        boxes: BoxSource | None = None,
        proposer: Predictor | None = None,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> tuple[LabelArray, tuple[MaskRecord, ...]]:
        """Label every object of one plane; see `litesam.segment_everything`.

        Returns
        -------
        tuple
            (H, W) int32 labels 1 … N, 0 for background, and the N records.

        Raises
        ------
        ConfigError
            If the model cannot propose in this way.
        ImageError
            If the index does not choose one plane.
        PromptError
            If ``boxes`` are no boxes or one lies outside the plane.
        Cancelled
            If ``cancelled`` said so.
        """
        return label_plane(
            self.predictor,
            self.embedder,
            self.plane(index),
            self.tiles,
            proposals,
            config,
            boxes=boxes,
            proposer=proposer,
            on_progress=on_progress,
            cancelled=cancelled,
        )

    def find_objects(
        self,
        index: Index = None,
        *,
        proposals: str | None = None,
        config: EverythingConfig | None = None,
        boxes: BoxSource | None = None,
        proposer: Predictor | None = None,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> list[MaskRecord]:
        """Find every object of one plane; unlike in `everything` the masks may overlap.

        So parts are there as well as wholes, to choose from with a click
        (`litesam.select_by_prompts`). Parameters and errors are those of `everything`.
        """
        return find_objects(
            self.predictor,
            self.embedder,
            self.plane(index),
            self.tiles,
            proposals,
            config,
            boxes=boxes,
            proposer=proposer,
            on_progress=on_progress,
            cancelled=cancelled,
        )
