"""EdgeSAM: RepViT with the decoder of SAM; non-commercial weights."""

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

_FOLDER = f"{HUGGING_FACE}/spaces/chongzhou/EdgeSAM/resolve/main/weights"


def _edge_sam(name: str, title: str, sha256: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="edge_sam",
        builder="litesam.models.edge_sam:build",
        input_px=1024,
        resize="longest_side",
        pixel_mean=SAM_MEAN,
        pixel_std=SAM_STD,
        feature_shapes={"image": SAM_FEATURE},
        prompts=SAM_PROMPTS,
        proposals=SAM_PROPOSALS,
        hq=None,
        weights=WeightsSpec(
            file=f"{name}.pth",
            url=f"{_FOLDER}/{name}.pth",
            sha256=sha256,
            size_bytes=None,
            approx_bytes=38_800_000,
            licence="NTU S-Lab License 1.0",
            licence_url="https://github.com/chongzhou96/EdgeSAM/blob/master/LICENSE",
            licence_note="Non-commercial use only; other use needs the permission of the authors.",
            other_parts=True,
        ),
        parameters=9_582_112,
        paper="Zhou et al. 2023, EdgeSAM: Prompt-In-the-Loop Distillation for On-Device "
        "Deployment of SAM, arXiv:2312.06660",
        everything=SAM_EVERYTHING,
    )


EDGE_SAM = (
    _edge_sam(
        "edge_sam", "EdgeSAM", "439b086a20ab6fba90c12cba32e0001ba3aa726da5791ff8738acdd440330991"
    ),
    _edge_sam(
        "edge_sam_3x",
        "EdgeSAM 3x",
        "5a3e3261da9e2f4c8154410885689ae57d09cbf4cf5d0c848b9d80b6df336ece",
    ),
)
