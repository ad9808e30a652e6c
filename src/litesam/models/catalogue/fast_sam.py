"""FastSAM: a YOLOv8-seg network that finds all instances first; AGPL weights."""

from __future__ import annotations

from litesam.types import ModelSpec, WeightsSpec

_ASSETS = "https://github.com/ultralytics/assets/releases/download/v8.3.0"


def _fast_sam(
    size: str, file: str, sha256: str | None, bytes_: int | None, about: int | None, parameters: int
) -> ModelSpec:
    return ModelSpec(
        name=f"fastsam_{size}",
        title=f"FastSAM-{size}",
        family="fast_sam",
        builder=f"litesam.models.yolov8_seg:build_{size}",
        input_px=1024,
        resize="letterbox",
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(255.0, 255.0, 255.0),
        feature_shapes={},  # they follow the aspect ratio and the number of instances
        prompts=("point", "box", "text"),
        proposals=("instances",),
        hq=None,
        weights=WeightsSpec(
            file=file,
            url=f"{_ASSETS}/{file}",
            sha256=sha256,
            size_bytes=bytes_,
            approx_bytes=about,
            licence="AGPL-3.0",
            licence_url="https://www.gnu.org/licenses/agpl-3.0.html",
            licence_note="What you build with these weights and pass on, or offer over a network, "
            "must itself be under AGPL-3.0; the makers sell another licence.",
        ),
        parameters=parameters,
        paper="Zhao et al. 2023, Fast Segment Anything, arXiv:2306.12156",
        memory_bytes=1_500_000_000,
    )


FAST_SAM = (
    _fast_sam("s", "FastSAM-s.pt", None, None, 23_900_000, 11_790_483),
    _fast_sam(
        "x",
        "FastSAM-x.pt",
        "c0be4e7ddbe4c15333d15a859c676d053c486d0a746a3be6a7a9790d52a9b6d7",
        144_943_063,
        None,
        72_234_149,
    ),
)
