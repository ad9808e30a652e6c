"""SAM with its vision transformers, and HQ-SAM on the same encoders."""

from __future__ import annotations

from litesam.models.catalogue.shared import (
    HUGGING_FACE,
    SAM_EVERYTHING,
    SAM_FEATURE,
    SAM_MEAN,
    SAM_PROMPTS,
    SAM_PROPOSALS,
    SAM_STD,
)
from litesam.types import ModelSpec, WeightsSpec

_META = "https://dl.fbaipublicfiles.com/segment_anything"
_PAPER = "Kirillov et al. 2023, Segment Anything, arXiv:2304.02643"
_HQ_PAPER = "Ke et al. 2023, Segment Anything in High Quality, arXiv:2306.01567"


def _sam(
    size: str, width: int, weights: WeightsSpec, parameters: int, memory_bytes: int, *, hq: bool
) -> ModelSpec:
    letter = size.upper()
    return ModelSpec(
        name=f"sam_hq_vit_{size}" if hq else f"sam_vit_{size}",
        title=f"HQ-SAM ViT-{letter}" if hq else f"SAM ViT-{letter}",
        family="hq_sam" if hq else "sam",
        builder=f"litesam.models.{'sam_hq:build_hq' if hq else 'sam:build_sam'}_vit_{size}",
        input_px=1024,
        resize="longest_side",
        pixel_mean=SAM_MEAN,
        pixel_std=SAM_STD,
        # The early feature is the output of the first block with global attention.
        feature_shapes={"image": SAM_FEATURE, "early": (width, 64, 64)},
        prompts=SAM_PROMPTS,
        proposals=SAM_PROPOSALS,
        hq=f"sam_hq_vit_{size}",
        weights=weights,
        parameters=parameters,
        paper=_HQ_PAPER if hq else _PAPER,
        everything=SAM_EVERYTHING,
        encoder=f"sam_vit_{size}",
        memory_bytes=memory_bytes,
    )


def _meta(file: str, sha256: str, size: int | None, about: int | None = None) -> WeightsSpec:
    return WeightsSpec(
        file=file,
        url=f"{_META}/{file}",
        sha256=sha256,
        size_bytes=size,
        approx_bytes=about,
        licence="Apache-2.0",
    )


def _lkeab(file: str, sha256: str, size: int | None, about: int | None = None) -> WeightsSpec:
    return WeightsSpec(
        file=file,
        url=f"{HUGGING_FACE}/lkeab/hq-sam/resolve/main/{file}",
        sha256=sha256,
        size_bytes=size,
        approx_bytes=about,
        licence="Apache-2.0",
    )


SAM = (
    _sam(
        "b",
        768,
        _meta(
            "sam_vit_b_01ec64.pth",
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            375_042_383,
        ),
        93_735_472,
        2_000_000_000,
        hq=False,
    ),
    _sam(
        "l",
        1024,
        _meta(
            "sam_vit_l_0b3195.pth",
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            None,
            1_250_000_000,
        ),
        312_342_832,
        4_000_000_000,
        hq=False,
    ),
    _sam(
        "h",
        1280,
        _meta(
            "sam_vit_h_4b8939.pth",
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            2_564_550_879,
        ),
        641_090_608,
        7_000_000_000,
        hq=False,
    ),
)

HQ_SAM = (
    _sam(
        "b",
        768,
        _lkeab(
            "sam_hq_vit_b.pth",
            "14a9d662cd6f5a9c2dba6d40ab0058d88d287e4a18fd6fdc6ad5fb1a3fdeaa57",
            379_335_069,
        ),
        94_806_576,
        2_000_000_000,
        hq=True,
    ),
    _sam(
        "l",
        1024,
        _lkeab(
            "sam_hq_vit_l.pth",
            "e1a6c385d62bf005ded91a54d5ec55c985cfc4103ef89c08d90f39f04934c343",
            None,
            1_250_000_000,
        ),
        313_676_080,
        4_000_000_000,
        hq=True,
    ),
    _sam(
        "h",
        1280,
        _lkeab(
            "sam_hq_vit_h.pth",
            "a7ac14a085326d9fa6199c8c698c4f0e7280afdbb974d2c4660ec60877b45e35",
            2_570_940_653,
        ),
        642_686_000,
        7_000_000_000,
        hq=True,
    ),
)
