"""MobileSAMv2: boxes as prompts, one decoder for three encoders, each in a file of its own."""

from __future__ import annotations

from dataclasses import replace

from litesam.models.catalogue.mobile_sam import MOBILE_SAM
from litesam.models.catalogue.sam import SAM
from litesam.models.catalogue.shared import MOBILE_SAM_RAW
from litesam.types import ModelSpec, WeightsSpec

_PAPER = "Zhang et al. 2023, MobileSAMv2: Faster Segment Anything to Everything, arXiv:2312.09579"
#: Prompt encoder and mask decoder, spelled as in the file.
_DECODER = WeightsSpec(
    file="Prompt_guided_Mask_Decoder.pt",
    url=f"{MOBILE_SAM_RAW}/MobileSAMv2/PromptGuidedDecoder/Prompt_guided_Mask_Decoder.pt",
    sha256=None,
    size_bytes=None,
    approx_bytes=16_300_000,
    licence="Apache-2.0",
    parts={"PromtEncoder": "prompt_encoder.", "MaskDecoder": "mask_decoder."},
)
#: Boxes first: the decoder was made for them. It is SAM's in form, so the other ways work as well.
_PROPOSALS = ("boxes", "auto_ppn", "grid")

_TINY_VIT = MOBILE_SAM[0]
_VIT_H = SAM[-1]

#: Its own EfficientViT-L2; the whole network for the list, the encoder alone for the file.
_EFFICIENTVIT_L2 = replace(
    _TINY_VIT,
    name="mobilesamv2_efficientvit_l2",
    title="MobileSAMv2 (EfficientViT-L2)",
    builder="litesam.models.mobilesam_v2:build_efficientvit_l2",
    feature_shapes={"image": _TINY_VIT.feature_shapes["image"]},
    proposals=_PROPOSALS,
    hq=None,
    weights=_DECODER,
    parameters=61_328_592,
    paper=_PAPER,
    encoder="mobilesamv2_l2_encoder",
    encoder_from="mobilesamv2_l2_encoder",
    memory_bytes=1_500_000_000,
)

MOBILE_SAM_V2: tuple[ModelSpec, ...] = (
    replace(
        _TINY_VIT,
        name="mobilesamv2",
        title="MobileSAMv2 (TinyViT)",
        proposals=_PROPOSALS,
        weights=_DECODER,
        paper=_PAPER,
        encoder_from=_TINY_VIT.name,
    ),
    _EFFICIENTVIT_L2,
    replace(
        _VIT_H,
        name="mobilesamv2_vit_h",
        title="MobileSAMv2 (ViT-H)",
        proposals=_PROPOSALS,
        weights=_DECODER,
        paper=_PAPER,
        encoder_from=_VIT_H.name,
    ),
)

MOBILE_SAM_V2_ENCODERS: tuple[ModelSpec, ...] = (
    replace(
        _EFFICIENTVIT_L2,
        name="mobilesamv2_l2_encoder",
        title="EfficientViT-L2 encoder of MobileSAMv2",
        family="encoder",
        builder="litesam.models.mobilesam_v2:build_efficientvit_l2_encoder",
        prompts=(),
        proposals=(),
        weights=WeightsSpec(
            # "l2.pt" upstream; a name of its own, because others publish another file as l2.pt
            file="mobilesamv2_l2.pt",
            url=None,
            page="https://github.com/ChaoningZhang/MobileSAM/tree/master/MobileSAMv2",
            sha256=None,
            size_bytes=None,
            approx_bytes=229_000_000,
            licence="Apache-2.0",
        ),
        parameters=57_264_032,
        encoder_from=None,
    ),
)
