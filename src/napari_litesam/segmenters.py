"""The plugin's side of the engine: segmenters by source, and the bodies of the three jobs.

All runs in worker threads. Models, embeddings and results are the engine's; this room keeps what
has been built, so that a second click loads nothing. No napari, no Qt; torch is imported by the
engine on first use, in the worker.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import Cancelled, ConfigError, PromptError, WeightsError
from litesam.preprocess import arrays_of
from litesam.prompting import prompts_from_drawing
from litesam.tiling import tile_for_prompts
from litesam.types import Drawing, MaskRecord, Progress
from napari_litesam.candidates import Filters, Verdicts, collect, kept, to_objects
from napari_litesam.embedding import Precedence, Record
from napari_litesam.jobs import JobContext
from napari_litesam.levels import Scaling, level_index, scaling_of
from napari_litesam.replies import Reply, reply_of, reply_of_each

if TYPE_CHECKING:
    from litesam.merge import TextScorer
    from litesam.predictors import Predictor
    from litesam.segmenter import Segmenter
    from litesam.store import MemoryStore, ZarrStore
    from litesam.types import BoxPrompt, EverythingConfig, Polygon, Prompts
    from napari_litesam.candidates import Candidates
    from napari_litesam.requests import (
        EverythingRequest,
        ImageSource,
        SegmentRequest,
    )

#: Segmenters (one per image, channel and model) and predictors that stay in memory.
_KEPT_SEGMENTERS = 4
_KEPT_PREDICTORS = 2
#: Candidates of a grid below this predicted IoU or stability are not looked at, if the user's own
#: thresholds are not lower still: they are thousands, mostly noise, and each costs time.
_LOWEST_OF_GRID = 0.5
#: A store is full from this share of its limit on.
_FULL = 0.9
#: Of two candidates with a larger IoU one is enough.
_SAME_IOU = 0.9

#: Name of the model, device, weights file of the user's own.
ModelKey = tuple[str, str, str | None]


class SegmenterPool:
    """Builds segmenters on demand and keeps the newest. Thread-safe.

    All of one pool share a store of embeddings, so going back to an image or a model is quick.

    Attributes
    ----------
    scorer
        Compares pictures with words; None until `load_scorer` has loaded it.
    precedence
        Lets clicks go before what is embedded in the background.
    record
        What was embedded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._store: MemoryStore | ZarrStore | None = None
        self._on_disk = False
        self.precedence = Precedence()
        self.record = Record()
        self._gates: dict[ModelKey, threading.Lock] = {}
        self._predictors: OrderedDict[ModelKey, Predictor] = OrderedDict()
        self._segmenters: OrderedDict[tuple[Any, ...], tuple[tuple[Any, ...], Segmenter]] = (
            OrderedDict()
        )
        self._void: deque[Any] = deque()
        self.scorer: TextScorer | None = None

    def get(self, source: ImageSource, context: JobContext) -> Segmenter:
        """Return the segmenter of a source.

        Raises
        ------
        LiteSamError
            If the model cannot be loaded or the image cannot be used.
        """
        with self._lock:
            self._drop_void()
            known = self._segmenters.get(source.key)
            if known is not None:
                self._segmenters.move_to_end(source.key)
                if source.model_key in self._predictors:
                    self._predictors.move_to_end(source.model_key)
                return known[1]
        predictor = self.load(source.model_key, context)
        if context.cancelled():
            raise Cancelled("Cancelled before the image was opened.")
        from litesam.segmenter import Segmenter

        with self._lock:
            if source.key not in self._segmenters:
                segmenter = Segmenter(
                    source.data,
                    model=predictor,
                    axes=source.axes,
                    store=self._shared_store(),
                    channel=source.channel,
                    normalize=source.normalize,
                )
                # The array is kept beside it: its id is part of the key and must not be used again.
                arrays = arrays_of((source.data, source.layer))
                self._segmenters[source.key] = (arrays, segmenter)
                while len(self._segmenters) > _KEPT_SEGMENTERS:
                    self._segmenters.popitem(last=False)
                self.record.open(source, len(segmenter.tiles))
            return self._segmenters[source.key][1]

    def device(self, key: ModelKey) -> str:
        """Return the torch device that a model runs on; "" while it is not loaded."""
        with self._lock:
            predictor = self._predictors.get(key)
        return "" if predictor is None else str(predictor.device)

    def use_disk(self, on: bool) -> None:
        """Keep embeddings in the user's cache folder, or in memory. What the other place has
        stays there.
        """
        with self._lock:
            if on != self._on_disk:
                self._on_disk = on
                self._store = None
                self._segmenters.clear()
                self.record.clear()

    def store(self) -> MemoryStore | ZarrStore:
        """Return where embeddings are kept.

        Raises
        ------
        StoreError
            If the cache folder cannot be used.
        """
        with self._lock:
            return self._shared_store()

    def room(self) -> int | None:
        """Return how many embeddings as large as those that are kept there is room for; None if
        there is no limit, or nothing to tell their size.
        """
        store = self.store()
        entries, size, most = len(store), store.nbytes, store.max_bytes
        return None if most is None or not entries or not size else entries * most // size

    def clear(self) -> None:
        """Remove all embeddings that are kept."""
        with self._lock:
            self._shared_store().clear()
            self._segmenters.clear()  # they have some of them at hand
            self.record.clear()

    def load(self, key: ModelKey, context: JobContext) -> Predictor:
        """Return a loaded model. While one loads, others go on answering.

        Raises
        ------
        LiteSamError
            If the model cannot be loaded.
        """
        with self._lock:
            gate = self._gates.setdefault(key, threading.Lock())
        with gate:
            with self._lock:
                if key in self._predictors:
                    self._predictors.move_to_end(key)
                    return self._predictors[key]
            name, device, weights = key
            context.on_progress(Progress(0, 0, f"Loading the model {name}"))
            from litesam.predictors import load_predictor

            predictor: Predictor = load_predictor(name, weights=weights, device=device)
            with self._lock:
                self._predictors[key] = predictor
                while len(self._predictors) > _KEPT_PREDICTORS:
                    self._drop_model(next(iter(self._predictors)))
            return predictor

    def weights_hash(self, key: ModelKey) -> str | None:
        """Return the hash of a model's weights; None while it is not loaded."""
        with self._lock:
            predictor = self._predictors.get(key)
        return None if predictor is None else predictor.weights_hash

    def _drop_model(self, key: ModelKey) -> None:
        """Forget a model and the segmenters that hold it in memory."""
        del self._predictors[key]
        for held in [k for k in self._segmenters if k[-len(key) :] == key]:
            del self._segmenters[held]

    def forget(self, data: Any) -> None:
        """Drop what was built from an array, because its layer or its pixels are gone.

        Only noted here: the GUI thread must not wait for a worker that loads a model.
        """
        self._void.append(data)

    def _drop_void(self) -> None:
        while self._void:
            data = self._void.popleft()
            for key, (arrays, _) in list(self._segmenters.items()):
                if any(array is data for array in arrays):
                    del self._segmenters[key]

    def _shared_store(self) -> MemoryStore | ZarrStore:
        if self._store is None:
            from litesam.store import (
                DEFAULT_CACHE_BYTES,
                MemoryStore,
                ZarrStore,
                default_cache_dir,
            )

            self._store = (
                ZarrStore(default_cache_dir(), DEFAULT_CACHE_BYTES)
                if self._on_disk
                else MemoryStore()
            )
        return self._store


@dataclass(frozen=True, slots=True)
class CacheSize:
    """What a store of embeddings holds; ``folder`` is "" in memory; ``full``: the oldest ones have
    to go for new ones.
    """

    entries: int
    size_bytes: int
    folder: str
    full: bool = False


def cache_size(pool: SegmenterPool, _context: JobContext) -> CacheSize:
    """Measure the store of embeddings."""
    store = pool.store()
    entries, size, most = len(store), store.nbytes, store.max_bytes
    full = most is not None and size > _FULL * most
    if full:
        pool.record.trim(entries)
    return CacheSize(entries, size, str(getattr(store, "path", "")), full)


def clear_cache(pool: SegmenterPool, context: JobContext) -> CacheSize:
    """Remove all embeddings; return what is left."""
    pool.clear()
    return cache_size(pool, context)


def segment(pool: SegmenterPool, request: SegmentRequest, context: JobContext) -> Reply:
    """Return the object of the prompts or the words; embeds what is missing for it, and goes
    before what is embedded in the background.
    """
    with pool.precedence.urgent():
        return _segment(pool, request, context)


def peek(pool: SegmenterPool, request: SegmentRequest, context: JobContext) -> Reply | None:
    """Return what a click would give, for a preview; None if the prompts cannot be answered."""
    pool.precedence.give_way(context.cancelled)
    try:
        quiet = JobContext(lambda _progress: None, context.cancelled)
        reply = _segment(pool, request, quiet, whole=False)
    except PromptError:
        return None
    return reply if reply.record is not None and reply.record.area else None


def _segment(
    pool: SegmenterPool, request: SegmentRequest, context: JobContext, *, whole: bool = True
) -> Reply:
    """Answer; ``whole``: an object that its tile cuts is looked at in wider windows, too."""
    source = request.plane.source
    segmenter, scaling = pool.get(source, context), scaling_of(source)
    index = level_index(source, request.plane.index)
    if request.prompted:
        # Several objects may lie in tiles of their own.
        said = _said(request, segmenter, scaling)
        if not all(segmenter.is_ready(one, index) for one in said):
            context.on_progress(Progress(0, 0, "Embedding around the prompts"))
        if context.cancelled():
            raise Cancelled("Cancelled before the prompts were decoded.")
        if request.each:
            return reply_of_each(segmenter.segment_many(said, index), scaling)
        result = segmenter.segment(said[0], index, whole=whole)
        tile = result.tile
        if tile.index < 0:  # a window of its own, often after a look at the tile
            tile = tile_for_prompts(segmenter.tiles, said[0])
        if segmenter.embedder.is_embedded(segmenter.plane(index), tile):
            pool.record.add(source, request.plane.index, tile.index)
        return reply_of(result, scaling, said[0])
    if request.words is None or pool.scorer is None:
        raise ConfigError("There is nothing to look for; give points, a box or words.")
    context.on_progress(Progress(0, 0, "Comparing all objects with the words"))
    record = segmenter.segment_text(request.words.text, index, scorer=pool.scorer)
    record = None if record is None else scaling.record(record)
    shape = scaling.full_yx
    return Reply(np.zeros(shape, np.bool_) if record is None else record.mask(shape), record)


def _said(request: SegmentRequest, segmenter: Segmenter, scaling: Scaling) -> list[Prompts]:
    """Return what the model gets, in pixels of the level."""
    if request.drawing is not None:
        drawing, spec = scaling.drawing(request.drawing), segmenter.predictor.spec
        return [prompts_from_drawing(drawing, spec, segmenter.tiles)]
    whole = () if request.prompts is None else (request.prompts,)
    return [scaling.prompts(one) for one in request.each or whole]


def load_scorer(
    pool: SegmenterPool, place: str | None, download: bool, context: JobContext
) -> bool:
    """Load what compares pictures with words; return whether it is there now.

    Parameters
    ----------
    pool
        Keeps it.
    place
        Folder with a CLIP; None: the usual one.
    download
        The user wants the usual one to be downloaded if it is not on this computer.
    context
        Tells what is done.

    Raises
    ------
    ConfigError
        If the extra ``text`` is not installed.
    WeightsError
        If the folder holds no CLIP, or the download fails.
    """
    if pool.scorer is not None:
        return True
    context.on_progress(Progress(0, 0, "Getting CLIP" if download else "Loading CLIP"))
    from litesam.predictors import load_text_scorer

    try:
        pool.scorer = load_text_scorer(place, download=download)
    except WeightsError:
        if download or place is not None:
            raise
    return pool.scorer is not None


def candidates(pool: SegmenterPool, request: EverythingRequest, context: JobContext) -> Candidates:
    """Return what is in a plane for a review: also masks somewhat below the thresholds, and the
    better of two only where they are nearly the same; filters do the rest.
    """
    source, region = request.plane.source, request.region
    scaling = scaling_of(source)
    region = None if region is None else scaling.box(region)
    outline = request.outline
    if outline is not None:
        (outline,) = scaling.drawing(Drawing(polygons=(outline,))).polygons
    segmenter = _looking_at(pool.get(source, context), region)
    drawn = [scaling.box(box) for box in request.boxes]
    boxes = [(b.y0, b.x0, b.y1, b.x1) for b in drawn] or None
    from litesam.everything import choose_proposals, resolve_config

    spec = segmenter.predictor.spec
    way = choose_proposals(spec, request.proposals, with_boxes=boxes is not None)
    config = resolve_config(spec, way, request.config)
    records = segmenter.find_objects(
        level_index(source, request.plane.index),
        proposals=way,
        config=_loosened(config, _LOWEST_OF_GRID if way == "grid" else 0.0),
        boxes=boxes,
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )
    index = level_index(source, request.plane.index)
    for tile in segmenter.tiles:  # where objects are small, others were embedded
        if segmenter.embedder.is_embedded(segmenter.plane(index), tile):
            pool.record.add(source, request.plane.index, tile.index)
    context.on_progress(Progress(0, 0, "Comparing candidates"))
    return collect(
        [
            scaling.record(record)
            for record in records
            if region is None or _lies_in(record, region, outline)
        ],
        scaling.full_yx,
        Filters(
            predicted_iou=config.predicted_iou_threshold or 0.0,
            stability=config.stability_threshold or 0.0,
            min_area=config.min_area_px,
            overlap=1.0 if config.nms_iou is None else config.nms_iou,
        ),
        containment=1.0 if config.nms_containment is None else config.nms_containment,
        policy=config.overlap_policy or "score",
        min_visible=config.min_visible or 0.0,
    )


def _looking_at(segmenter: Segmenter, region: BoxPrompt | None) -> Segmenter:
    """Segmenter of the tiles that see a region; planes and embeddings are shared."""
    if region is None:
        return segmenter
    other = copy.copy(segmenter)
    other.tiles = tuple(
        tile
        for tile in segmenter.tiles
        if tile.padded.y0 < region.y1
        and region.y0 < tile.padded.y1
        and tile.padded.x0 < region.x1
        and region.x0 < tile.padded.x1
    )
    return other


def _lies_in(record: MaskRecord, region: BoxPrompt, outline: Polygon | None) -> bool:
    """Whether the middle of an object lies in a region, and inside an outline in it."""
    y, x = (record.box.y0 + record.box.y1) / 2, (record.box.x0 + record.box.x1) / 2
    if not (region.y0 <= y < region.y1 and region.x0 <= x < region.x1):
        return False
    return outline is None or _lies_inside(outline, y - 0.5, x - 0.5)


def _lies_inside(outline: Polygon, y: float, x: float) -> bool:
    """Whether a line from a point to the right crosses an outline an odd number of times."""
    first = np.asarray(outline.path)
    second = np.roll(first, -1, axis=0)
    passes = (first[:, 0] > y) != (second[:, 0] > y)
    (y0, x0), (y1, x1) = first[passes].T, second[passes].T
    return bool(np.count_nonzero(x < x0 + (y - y0) / (y1 - y0) * (x1 - x0)) % 2)


def _loosened(config: EverythingConfig, lowest: float) -> EverythingConfig:
    """Config that keeps what a filter may want back, down to a score."""
    return replace(
        config,
        predicted_iou_threshold=min(config.predicted_iou_threshold or 0.0, lowest),
        stability_threshold=min(config.stability_threshold or 0.0, lowest),
        nms_iou=max(config.nms_iou or 0.0, _SAME_IOU),
        nms_containment=1.0,
    )


def everything(
    pool: SegmenterPool, request: EverythingRequest, context: JobContext
) -> list[MaskRecord]:
    """Return all objects of a plane; they share no pixel."""
    if request.region is not None or not scaling_of(request.plane.source).identity:
        found = candidates(pool, request, context)
        nobody = Verdicts()
        return to_objects(found, kept(found, found.filters, nobody), found.filters, nobody)
    segmenter = pool.get(request.plane.source, context)
    records: tuple[MaskRecord, ...]
    _, records = segmenter.everything(
        request.plane.index,
        proposals=request.proposals,
        config=request.config,
        boxes=[(b.y0, b.x0, b.y1, b.x1) for b in request.boxes] or None,
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )
    return list(records)
