"""Predictor of Lite-SAM: SAM's prompts, decoded in windows, and AutoPPN's proposals.

A click does not say how large its object is, so AutoPPN is asked for the box of the object under
it, and click and box go to the decoder together. The smallest window that holds the box with a
margin is decoded; if the mask reaches the window's border it is decoded again in the next larger
one. Outside the window the logits are `OUTSIDE_LOGIT`. A box that is no guess says where the object
ends: outside of it the logits fall with the distance. Bits of neighbours are left out
(`litesam.predictors.windows.drop_loose_parts`).

Further clicks correct what the clicks before them gave: those that the mask so far contradicts go
to the decoder one after the other, each with that mask and its box (Kirillov et al. 2023, Appendix
A), which is how it was trained. So the result depends on the prompts alone, and on their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from litesam.models.auto_ppn import boxes_at
from litesam.models.lite_sam import WINDOWS, LiteSAM
from litesam.models.prompt_maps import (
    WindowPrompts,
    boxes_of_masks,
    boxes_with_clicks,
    contradicted,
    fade_outside,
)
from litesam.predictors.base import check_embedding, check_prompts, plain_batches
from litesam.predictors.networks import NetworkPredictor
from litesam.predictors.proposing import propose_prompts
from litesam.predictors.windows import (
    WindowGroup,
    drop_loose_parts,
    join_windows,
    reaches_border,
)
from litesam.types import Embedding, IntArray, Masks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litesam.frames import FloatArray, Frame
    from litesam.types import ModelSpec, PromptBatch, Proposals

#: Embedding cells that are decoded at once; keeps the decoder's arrays near the cache.
_CELLS_PER_CHUNK = 8192
#: Embeddings whose view is kept, 5 MB each: a click and what is looked at closer for it, and the
#: tiles around.
_VIEWS = 8
#: Most decodes for the clicks of one object: the last one takes all that are left.
_MOST_STEPS = 12
#: Steps that are kept for an embedding, 0.3 MB each, with HQ 1 MB.
_STEPS_KEPT = 16
#: Smallest window of an earlier mask without any other prompt.
_MASK_WINDOW = WINDOWS[1]


@dataclass(slots=True)
class _View:
    """What the network makes of an embedding whatever the prompt.

    Attributes
    ----------
    of
        The embedding, as long as somebody else needs it.
    image
        Image feature (1, C, h, w), channels-last in memory.
    maps
        What AutoPPN says of it; None: it was not asked yet.
    steps
        Logits (1, s, s) of objects that are being corrected, by what was said of them.
    """

    of: ref[Embedding]
    image: Tensor
    maps: tuple[Tensor, Tensor] | None = None
    steps: dict[bytes, Tensor] = field(default_factory=dict)


class LiteSamPredictor(NetworkPredictor[LiteSAM]):
    """Lite-SAM as two pure calls; see `litesam.predictors.base.Predictor`."""

    #: Pixels of the logits along a side of one of a mask prompt.
    _finer = 1

    def __init__(
        self,
        spec: ModelSpec,
        network: LiteSAM,
        device: str,
        weights_hash: str,
        encoder_hash: str | None = None,
    ) -> None:
        super().__init__(spec, network, device, weights_hash, encoder_hash)
        self._views: list[_View] = []
        self._lock = Lock()

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Decode P prompts; the logits cover the whole frame.

        See `litesam.predictors.base.Predictor.decode`.
        """
        return self.decode_windows(embedding, prompts, multimask=multimask).whole()

    def decode_windows(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Decode P prompts; the logits cover a window per prompt, as large as the largest needs."""
        check_embedding(embedding, self.spec, self.encoder_hash)
        prompts = check_prompts(prompts, embedding.frame, self._low_res_yx, self._finer)
        with torch.inference_mode():
            view = self._view(embedding)
            tensors = WindowPrompts(
                *self._prompt_tensors(prompts, embedding.frame),
                binding=prompts.boxes is not None and not prompts.boxes_are_guesses,
            )
            masks = slice(1, 4) if multimask else slice(0, 1)
            groups = self._decode_in_steps(embedding, view, tensors, masks)
        return join_windows(groups, len(prompts), embedding.frame, self._network.grid_side)

    def batches(
        self, embedding: Embedding, prompts: PromptBatch, batch_size: int = 64
    ) -> Iterator[IntArray]:
        """Yield index arrays of at most ``batch_size`` prompts whose windows have one size."""
        with torch.inference_mode():
            view = self._view(embedding)
            sides = self._sides(self._complete_prompts(view, prompts, embedding.frame))
        for side in WINDOWS:
            members = np.flatnonzero(sides == side)
            for chunk in plain_batches(len(members), batch_size):
                yield members[chunk]

    def propose(
        self, embedding: Embedding, *, top_n: int, confidence_threshold: float
    ) -> Proposals:
        """Return AutoPPN's points and boxes, the most confident first.

        Parameters
        ----------
        embedding
            Result of `encode` of this model.
        top_n
            Largest number of proposals.
        confidence_threshold
            Smallest confidence.
        """
        check_embedding(embedding, self.spec, self.encoder_hash)
        with torch.inference_mode():
            return propose_prompts(
                self._maps(self._view(embedding)),
                embedding.frame,
                top_n=top_n,
                confidence_threshold=confidence_threshold,
            )

    # -------------------------------------------------------------------------------------- windows

    def _view(self, embedding: Embedding) -> _View:
        """What the network makes of an embedding whatever the prompt, made once."""
        with self._lock:
            for view in self._views:
                if view.of() is embedding:
                    return view
        view = _View(ref(embedding), self._image(embedding))
        with self._lock:
            alive = [one for one in self._views if one.of() is not None]
            self._views = [*alive[1 - _VIEWS :], view]
        return view

    def _maps(self, view: _View) -> tuple[Tensor, Tensor]:
        """What AutoPPN says of an embedding, asked once."""
        if view.maps is None:
            view.maps = self._network.auto_ppn(view.image)
        return view.maps

    def _complete_prompts(self, view: _View, prompts: PromptBatch, frame: Frame) -> WindowPrompts:
        """Prompts as tensors in model pixels, with boxes; mask prompts cover the whole frame."""
        tensors = WindowPrompts(*self._prompt_tensors(prompts, frame))
        return self._with_own_boxes(view, tensors, frame)

    def _with_own_boxes(self, view: _View, prompts: WindowPrompts, frame: Frame) -> WindowPrompts:
        """Give prompts without a box the one that AutoPPN sees under their clicks on the object.

        A click says nothing about the extent of its object; AutoPPN, asked at that place, does.
        Clicks of one object that see different boxes get the box around all of them.
        """
        if prompts.boxes is not None or prompts.points is None or prompts.labels is None:
            return prompts
        confidence, distances = self._maps(view)
        count, number = prompts.labels.shape
        boxes = boxes_at(
            confidence,
            distances,
            prompts.points.flatten(0, 1),
            torch.zeros(count * number, dtype=torch.long, device=self.device),
            self._network.stride / self._network.auto_ppn.upscale,
        ).reshape(count, number, 4)
        foreground = (prompts.labels == 1)[..., None]
        limits = boxes.new_tensor([frame.content_yx[1], frame.content_yx[0]])
        low = boxes[..., :2].masked_fill(~foreground, torch.inf).amin(dim=1)
        high = boxes[..., 2:].masked_fill(~foreground, -torch.inf).amax(dim=1)
        # Without a click on the object the box is the whole region.
        low = torch.where(torch.isinf(low), torch.zeros_like(low), low.clamp(min=0.0))
        high = torch.where(torch.isinf(high), limits.expand_as(high), torch.minimum(high, limits))
        return replace(prompts, boxes=torch.cat((low, high), dim=1))

    # ---------------------------------------------------------------------------------- corrections

    def _decode_in_steps(
        self, embedding: Embedding, view: _View, prompts: WindowPrompts, masks: slice
    ) -> list[WindowGroup]:
        """Decode every prompt, one with several clicks click by click."""
        if prompts.points is None or prompts.labels is None or prompts.mask_logits is not None:
            return self._decode_directly(embedding, view, prompts, masks)
        groups: list[WindowGroup] = []
        clicks = (prompts.labels != -1).sum(dim=1).cpu().numpy()
        for number in np.unique(clicks):
            rows = np.flatnonzero(clicks == number)
            chosen = prompts.take(rows).in_order(max(number, 1))
            if number == 0 or (number == 1 and chosen.boxes is not None):
                found = self._decode_directly(embedding, view, chosen, masks)
            else:
                end = 1 if chosen.boxes is None else 0
                found = self._correct(embedding, view, chosen, masks, end)
            groups.extend(replace(group, indices=rows[group.indices]) for group in found)
        return groups

    def _decode_directly(
        self, embedding: Embedding, view: _View, prompts: WindowPrompts, masks: slice
    ) -> list[WindowGroup]:
        """Decode everything that is said of an object at once."""
        ends = prompts.boxes if prompts.binding and prompts.mask_logits is None else None
        prompts = self._with_own_boxes(view, prompts, embedding.frame)
        return self._decode_groups(embedding, view.image, prompts, masks, ends)

    def _correct(
        self,
        embedding: Embedding,
        view: _View,
        prompts: WindowPrompts,
        masks: slice,
        end: int,
        earlier: Tensor | None = None,
        step: int = 1,
    ) -> list[WindowGroup]:
        """Decode the box or the first click, then what corrects it.

        A step takes in the clicks up to the next one that the mask so far contradicts. The masks of
        one object's steps are kept for its next click.

        Parameters
        ----------
        embedding, view, masks
            As elsewhere; ``masks`` of the last step.
        prompts
            P objects with N clicks each.
        end, earlier, step
            The step's number, clicks and, but for the first, logits (P, s, s) before it.
        """
        points, labels, given = prompts.points, prompts.labels, prompts.boxes
        assert points is not None
        assert labels is not None
        number = points.shape[1]
        key = _step_key(points[:, :end], labels[:, :end], given)
        known = None if end == number or key is None else view.steps.get(key)
        if known is None:
            said = WindowPrompts(points[:, :end], labels[:, :end], given, earlier)
            usual = slice(0, 1)
            if end == 0:
                said = WindowPrompts(boxes=given)
            elif earlier is None:
                said, usual = self._with_own_boxes(view, said, embedding.frame), slice(1, 4)
            elif given is None:
                said = self._with_boxes_of_masks(view, said, embedding.frame)
            asked = masks if end == number else usual
            binding = given if prompts.binding else None
            groups = self._decode_groups(embedding, view.image, said, asked, binding)
            if end == number and (key is None or masks != usual):
                return groups
            best = (
                join_windows(groups, len(points), embedding.frame, self._network.grid_side)
                .best()
                .whole()
            )
            known = torch.from_numpy(best.logits[:, 0]).to(self.device)  # (P, S, S), whole frame
            if key is not None:
                if len(view.steps) >= _STEPS_KEPT:
                    view.steps.clear()
                view.steps[key] = known
            if end == number:
                return groups
        wrong = contradicted(known, points, labels, self._pixel)[:, end:].cpu().numpy()
        ends = np.where(wrong.any(axis=1), end + 1 + wrong.argmax(axis=1), number)
        if step >= _MOST_STEPS - 1:
            ends[:] = number
        groups = []
        known = F.avg_pool2d(known, self._finer)
        for following in np.unique(ends):
            rows = np.flatnonzero(ends == following)
            found = self._correct(
                embedding,
                view,
                prompts.take(rows),
                masks,
                int(following),
                known[torch.from_numpy(rows).to(self.device)],
                step + 1,
            )
            groups.extend(replace(group, indices=rows[group.indices]) for group in found)
        return groups

    @property
    def _mask_pixel(self) -> float:
        """Model pixels per pixel of a mask prompt."""
        return self._network.input_px / self._low_res_yx[0]

    @property
    def _pixel(self) -> float:
        """Model pixels per pixel of the logits."""
        return self._mask_pixel / self._finer

    def _with_boxes_of_masks(
        self, view: _View, prompts: WindowPrompts, frame: Frame
    ) -> WindowPrompts:
        """Give prompts the box around their masks so far and their clicks on the object.

        Without any mask it is what AutoPPN sees under these clicks.
        """
        points, labels, logits = prompts.points, prompts.labels, prompts.mask_logits
        assert points is not None
        assert labels is not None
        assert logits is not None
        boxes, empty = boxes_of_masks(logits, self._mask_pixel)
        boxes = boxes_with_clicks(boxes, points, labels).clamp(min=0.0)
        limits = boxes.new_tensor([frame.content_yx[1], frame.content_yx[0]])
        boxes = torch.cat((boxes[:, :2], torch.minimum(boxes[:, 2:], limits)), dim=1)
        if empty.any():
            own = self._with_own_boxes(view, replace(prompts, boxes=None), frame).boxes
            assert own is not None
            boxes = torch.where(empty[:, None], own, boxes)
        return replace(prompts, boxes=boxes)

    def _extents(self, prompts: WindowPrompts) -> Tensor:
        """(P, 4) (x0, y0, x1, y1) model pixels that a window must hold."""
        network = self._network
        low = torch.full((len(prompts), 2), float("inf"), device=self.device)
        high = -low
        if prompts.boxes is not None:
            low, high = prompts.boxes[:, :2].clone(), prompts.boxes[:, 2:].clone()
        if prompts.points is not None and prompts.labels is not None:
            used = (prompts.labels != -1)[..., None]
            infinite = torch.full_like(prompts.points, float("inf"))
            low = torch.minimum(low, torch.where(used, prompts.points, infinite).amin(dim=1))
            high = torch.maximum(high, torch.where(used, prompts.points, -infinite).amax(dim=1))
        if prompts.mask_logits is not None:
            boxes, empty = boxes_of_masks(prompts.mask_logits, self._mask_pixel)
            some = ~empty[:, None]
            low = torch.where(some, torch.minimum(low, boxes[:, :2]), low)
            high = torch.where(some, torch.maximum(high, boxes[:, 2:]), high)
        whole = torch.isinf(low) | torch.isinf(high)
        low = torch.where(whole, torch.zeros_like(low), low)
        high = torch.where(whole, torch.full_like(high, network.input_px), high)
        return torch.cat((low, high), dim=1)

    def _sides(self, prompts: WindowPrompts) -> IntArray:
        """Smallest window of each prompt, cells; the rule of the training."""
        extents = self._extents(prompts)
        longest = (extents[:, 2:] - extents[:, :2]).amax(dim=1) / self._network.stride
        needed = (longest * 1.25 + 2).cpu().numpy()
        smallest = WINDOWS[0] if prompts.boxes is not None else _MASK_WINDOW
        sides = np.full(len(prompts), WINDOWS[-1], dtype=np.int64)
        for side in reversed(WINDOWS[:-1]):
            if side >= smallest:
                sides[needed <= side] = side
        return sides

    def _decode_groups(
        self,
        embedding: Embedding,
        image: Tensor,
        prompts: WindowPrompts,
        masks: slice,
        ends: Tensor | None,
    ) -> list[WindowGroup]:
        """Decode every prompt in its window; masks that reach the border of it in a larger one.

        ``ends``: boxes (P, 4) at which the masks end, unless a click on the object lies outside;
        None: the prompts' boxes are AutoPPN's, those of masks or other guesses.
        """
        if ends is not None and prompts.points is not None and prompts.labels is not None:
            # What is clicked at is a pixel of the logits.
            reach = boxes_with_clicks(ends, prompts.points, prompts.labels)
            beyond = self._pixel * ends.new_tensor([-1.0, -1.0, 1.0, 1.0])
            ends = torch.where(reach == ends, ends, reach + beyond)
        sides = self._sides(prompts)
        extents = self._extents(prompts)
        centres = ((extents[:, :2] + extents[:, 2:]) / 2).flip(1).cpu().numpy()  # (P, 2) (y, x)
        grid, stride = self._network.grid_side, self._network.stride
        groups = []
        for side in WINDOWS:
            members = np.flatnonzero(sides == side)
            for chunk in plain_batches(len(members), max(1, _CELLS_PER_CHUNK // side**2)):
                indices = members[chunk]
                origins = np.round(centres[indices] / stride - side / 2).astype(np.int64)
                origins = np.clip(origins, 0, grid - side)
                logits, iou = self._decode_chunk_windows(
                    embedding, image, prompts, indices, origins, side, masks, ends
                )
                cut = reaches_border(logits, iou, origins, side, grid)
                sides[indices[cut]] = WINDOWS[min(WINDOWS.index(side) + 1, len(WINDOWS) - 1)]
                done = ~cut
                if done.any():
                    groups.append(
                        WindowGroup(indices[done], side, origins[done], logits[done], iou[done])
                    )
        return groups

    def _decode_chunk_windows(
        self,
        embedding: Embedding,
        image: Tensor,
        prompts: WindowPrompts,
        indices: IntArray,
        origins: IntArray,
        side: int,
        masks: slice,
        ends: Tensor | None,
    ) -> tuple[FloatArray, FloatArray]:
        index = torch.from_numpy(indices).to(self.device)
        corner = torch.from_numpy(origins).to(self.device)
        earlier = None
        if prompts.mask_logits is not None:
            cells = 4 * side
            earlier = torch.stack(
                [
                    prompts.mask_logits[i, 4 * y : 4 * y + cells, 4 * x : 4 * x + cells]
                    for i, (y, x) in zip(indices, origins, strict=True)
                ]
            )
        chosen = WindowPrompts(
            None if prompts.points is None else prompts.points[index],
            None if prompts.labels is None else prompts.labels[index],
            None if prompts.boxes is None else prompts.boxes[index],
            earlier,
        )
        logits, iou = self._window_logits(embedding, image, corner, side, chosen, masks)
        if ends is not None:
            top_left = corner.flip(1).repeat(1, 2) * self._network.stride
            logits = fade_outside(logits, ends[index] - top_left, self._pixel)
        found = logits.cpu().numpy()
        corners = origins * (found.shape[-1] // side)
        drop_loose_parts(found, self._clicked_pixels(chosen, corners))
        return found, iou.cpu().numpy()

    def _clicked_pixels(self, prompts: WindowPrompts, corners: IntArray) -> list[IntArray]:
        """Pixels (N, 2) (y, x) of each window's logits at which the object was clicked.

        ``corners``: (P, 2) top left of the windows, pixels of the logits.
        """
        if prompts.points is None or prompts.labels is None:
            return [np.zeros((0, 2), dtype=np.int64)] * len(corners)
        places = ((prompts.points + 0.5) / self._pixel).floor().long().flip(-1).cpu().numpy()
        on = (prompts.labels == 1).cpu().numpy()
        return [
            place[mine] - corner for place, mine, corner in zip(places, on, corners, strict=True)
        ]

    def _window_logits(
        self,
        embedding: Embedding,
        image: Tensor,
        origins: Tensor,
        side: int,
        prompts: WindowPrompts,
        masks: slice,
    ) -> tuple[Tensor, Tensor]:
        """Logits (P, M, s, s) and predicted IoU (P, M), see `LiteSAM.decode_windows`; s is
        ``4 * side``, times ``_finer``.
        """
        del embedding  # for decoders that need more of it than the image feature
        return self._network.decode_windows(image, self._positions, origins, side, prompts, masks)


def _step_key(points: Tensor, labels: Tensor, boxes: Tensor | None) -> bytes | None:
    """What names a step of the correction of one object; None for several."""
    if len(points) != 1:
        return None
    parts = (points, labels) if boxes is None else (points, labels, boxes)
    return b"|".join(part.cpu().numpy().tobytes() for part in parts)
