"""Sessions that hold one of everything, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from litesam.session import (
    Accepted,
    BatchCommit,
    BatchObject,
    Draft,
    Drawn,
    DrawnShape,
    EverythingCommit,
    FoundMasks,
    HandEdit,
    ImageReference,
    LabelsLoaded,
    MaskCommit,
    ModelReference,
    ObjectCommit,
    ObjectEdit,
    Outcome,
    Patch,
    Session,
)
from litesam.types import (
    Box,
    BoxPrompt,
    EverythingConfig,
    MaskRecord,
    NormalizeConfig,
    PointLabel,
    PointPrompt,
    Prompts,
    TilingConfig,
)

if TYPE_CHECKING:
    from litesam.session import Action


def click(y: float, x: float, *beside: tuple[float, float]) -> Prompts:
    background = [PointPrompt(*at, PointLabel.BACKGROUND) for at in beside]
    return Prompts((PointPrompt(y, x), *background))


def one_of_each() -> tuple[Action, ...]:
    logits = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    third = 1 / 3
    return (
        LabelsLoaded("start.tif", "ab" * 32),
        ObjectCommit(1, (4,), click(third, 7.25, (3, 4)), outcome=Outcome(third, 0.5, "ff" * 8)),
        ObjectCommit(
            1,
            (4,),
            Prompts((PointPrompt(1, 2),), BoxPrompt(0, 0.5, 9, 9.5), logits),
            candidate=2,
            multimask=True,
            tile=3,
            model=ModelReference("mobile_sam", "only", "my.pt", "1234"),
            policy="overwrite",
            reopened=True,
            drawn=Drawn(
                (
                    DrawnShape("polygon", ((0.0, third), (9.0, 1.0), (4.0, 9.5))),
                    DrawnShape("path", ((7.5, 7.5), (8.25, third)), PointLabel.BACKGROUND),
                ),
                click(1, 2),
            ),
        ),
        BatchCommit(
            (4,),
            (BatchObject(2, click(1, 1)), BatchObject(0, click(2, 2)), BatchObject(3, click(9, 9))),
            ModelReference("mobile_sam", hq=True),
            "free_area",
        ),
        EverythingCommit(
            (4,),
            (Accepted(7, 4, Outcome(0.9, 0.95)), Accepted(0, 5)),
            "masks",
            "boxes",
            EverythingConfig(min_area_px=20, stability_threshold=third, prompt_kind="both"),
            ((0.0, 1.5, 10.0, 20.0),),
        ),
        MaskCommit(
            6, (5,), Box(2, 3, 4, 6), np.array([[1, 0, 1], [0, 1, 1]], dtype=bool), "words: dark"
        ),
        HandEdit(
            (
                Patch((5,), Box(0, 0, 1, 3), np.array([[True, False, True]]), 8),
                Patch((4,), Box(1, 0, 2, 3), np.array([[True, False, True]]), np.array([1, 0])),
            )
        ),
        ObjectEdit("split", (5,), (4,), ((1.0, 2.0), (3.5, 4.0)), 9),
        ObjectEdit("fill_holes", (1,), (4,)),
        ObjectEdit("smooth", (1,), (4,), size_px=2),
        ObjectEdit("merge", (2, 3)),
        ObjectEdit("delete", (4,), (4,)),
    )


def one_of_each_shape() -> tuple[DrawnShape, ...]:
    corners = ((1.5, 2.5), (1.5, 9.5), (5.5, 9.5), (5.5, 1 / 3))
    kinds = ("rectangle", "polygon", "ellipse", "line", "path")
    labels = (PointLabel.FOREGROUND, PointLabel.BACKGROUND)
    return tuple(
        DrawnShape(kind, corners[:2] if kind == "line" else corners, labels[i % 2])
        for i, kind in enumerate(kinds)
    )


def found_masks() -> FoundMasks:
    """Two masks that share a pixel."""
    crop = np.array([[1, 0, 1], [0, 1, 1]], dtype=bool)
    return FoundMasks(
        (4,),
        (
            MaskRecord(Box(2, 3, 4, 6), crop, 0.875, 1 / 3, 0.5, (2.5, 1 / 3)),
            MaskRecord(Box(1, 3, 3, 6), ~crop, 0.25, 0.75, 0.125),
        ),
    )


def full_session() -> Session:
    return Session(
        ImageReference(
            "images/stack.tif",
            "ZCYX",
            (12, 2, 40, 50),
            "uint16",
            channel=1,
            normalize=NormalizeConfig(limits=(100.0, 4000.5)),
            tiling=TilingConfig(tile_px=256),
            scale=(2.0, 1.0, 0.5, 0.5),
            unit="micrometer",
        ),
        ModelReference("lite_sam", weights_hash="abcd"),
        one_of_each(),
        (
            Draft((4,), click(5, 5), id=1),
            Draft((0,), click(1, 1)),
            Draft((2,), None, shapes=one_of_each_shape()),
        ),
        found_masks(),
        "uint16",
        {"sign": "positive", "words": ["a", 1, None]},
        "test 1",
        "2026-11-21T10:00:00+00:00",
    )
