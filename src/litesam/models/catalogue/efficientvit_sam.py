"""EfficientViT-SAM: linear attention, 512 or 1024 px pictures, prompts on 1024 px."""

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


def _efficientvit_sam(
    size: str, input_px: int, sha256: str, about: int, parameters: int, memory_bytes: int
) -> ModelSpec:
    file = f"efficientvit_sam_{size}.pt"
    return ModelSpec(
        name=f"efficientvit_sam_{size}",
        title=f"EfficientViT-SAM-{size.upper()}",
        family="sam",
        builder=f"litesam.models.efficientvit_sam:build_{size}",
        input_px=input_px,
        resize="longest_side",
        pixel_mean=SAM_MEAN,
        pixel_std=SAM_STD,
        feature_shapes={"image": SAM_FEATURE},
        prompts=SAM_PROMPTS,
        proposals=SAM_PROPOSALS,
        hq=None,
        weights=WeightsSpec(
            file=file,
            url=f"{HUGGING_FACE}/mit-han-lab/efficientvit-sam/resolve/main/{file}",
            sha256=sha256,
            size_bytes=None,
            approx_bytes=about,
            licence="Apache-2.0",
        ),
        parameters=parameters,
        paper="Zhang et al. 2024, EfficientViT-SAM: Accelerated Segment Anything Model Without "
        "Accuracy Loss, arXiv:2402.05008",
        everything=SAM_EVERYTHING,
        prompt_px=1024,
        memory_bytes=memory_bytes,
    )


EFFICIENTVIT_SAM = (
    _efficientvit_sam(
        "l0",
        512,
        "c4f994b01a16d48bcf2fbbb089448cfbf58fae5811edfa8113c953b8b8cc64b8",
        139_000_000,
        34_792_784,
        800_000_000,
    ),
    _efficientvit_sam(
        "l1",
        512,
        "fa151df2b9b96896accd505470755cdd293a4c50cdabac95478f3fbd86d9152b",
        191_000_000,
        47_650_128,
        900_000_000,
    ),
    _efficientvit_sam(
        "l2",
        512,
        "d4bfd842224cbb99de09acc3325e81ac5b7e8725c8fbdab152305e5d934bfe4a",
        246_000_000,
        61_328_592,
        1_000_000_000,
    ),
    _efficientvit_sam(
        "xl0",
        1024,
        "9bc2f87bd23d6e6d1f7b5beff910f98835c7c333fac73e695bac0bec685968f8",
        468_000_000,
        116_957_904,
        2_000_000_000,
    ),
    _efficientvit_sam(
        "xl1",
        1024,
        "10f42277679427c1183dcff19758e536aa86bcc4304e4b387ff48865784be05c",
        814_000_000,
        203_346_128,
        3_000_000_000,
    ),
)
