"""Words → how well pictures fit them: CLIP, behind the optional extra ``text``.

CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
Sec. 2) maps pictures and words into one space, where their cosine tells how well they fit. The
network is that of the transformers package, which needs no torchvision; the pictures are prepared
here as the paper's code does (shorter side to the input size, bicubic; centre; statistics of its
training pictures).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from litesam.errors import ConfigError, PromptError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litesam.frames import FloatArray

RgbArray = npt.NDArray[np.uint8]

#: The CLIP that FastSAM was published with (605 MB, MIT).
CLIP = "openai/clip-vit-base-patch32"
_MEAN = np.array((0.48145466, 0.4578275, 0.40821073), dtype=np.float32)
_STD = np.array((0.26862954, 0.26130258, 0.27577711), dtype=np.float32)
#: Pictures compared at once: about 40 MB of input at 224 px.
_BATCH = 64


class ClipScorer:
    """Tells how well pictures fit words; a `litesam.merge.TextScorer`.

    Parameters
    ----------
    model
        A ``transformers.CLIPModel``; moved to ``device`` and switched to evaluation mode.
    tokenizer
        Its tokenizer.
    device
        Torch device.
    """

    def __init__(self, model: Any, tokenizer: Any, device: str = "cpu") -> None:
        self._model = model.to(device).eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._device = device

    def __call__(self, pictures: Sequence[RgbArray], text: str) -> FloatArray:
        """Return (N,) float32 CLIP logits of (h, w, 3) uint8 pictures for one text.

        Raises
        ------
        PromptError
            If the text is longer than CLIP can read.
        """
        import torch

        tokens = self._tokenizer([text], return_tensors="pt")
        longest = int(self._model.config.text_config.max_position_embeddings)
        if tokens["input_ids"].shape[1] > longest:
            raise PromptError(
                f"The text has {tokens['input_ids'].shape[1]} tokens, CLIP reads {longest}; say it "
                "in fewer words."
            )
        side = int(self._model.config.vision_config.image_size)
        parts = [np.zeros(0, dtype=np.float32)]
        with torch.inference_mode():
            for start in range(0, len(pictures), _BATCH):
                batch = np.stack([_prepared(p, side) for p in pictures[start : start + _BATCH]])
                output = self._model(
                    input_ids=tokens["input_ids"].to(self._device),
                    attention_mask=tokens["attention_mask"].to(self._device),
                    pixel_values=torch.from_numpy(batch).to(self._device),
                )
                parts.append(output.logits_per_image[:, 0].float().cpu().numpy())
        return np.concatenate(parts)


def load_text_scorer(
    weights: str | Path | None = None, device: str = "cpu", *, download: bool = True
) -> ClipScorer:
    """Load a CLIP.

    Parameters
    ----------
    weights
        A folder with a CLIP as transformers saves it, or its name on huggingface.co, which is then
        downloaded once; None: `CLIP`.
    device
        Torch device.
    download
        Whether a CLIP that is not on this computer may be downloaded.

    Raises
    ------
    ConfigError
        If the extra ``text`` is not installed.
    WeightsError
        If there is no CLIP at that place, or it cannot be downloaded.
    """
    try:
        from transformers import AutoTokenizer, CLIPModel
    except ImportError as error:
        raise ConfigError(
            "Text prompts need the package transformers, which is not installed. Install it with: "
            'pip install "napari-litesam[text]"'
        ) from error
    place = CLIP if weights is None else str(weights)
    if isinstance(weights, Path) and not weights.is_dir():
        raise WeightsError(f"There is no folder {weights}; give a folder with a CLIP.")
    # What is here is not asked for at huggingface.co: without a network that takes half a minute.
    for local in (True, False) if download else (True,):
        try:
            model = CLIPModel.from_pretrained(place, local_files_only=local)
            tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=local)
        except (OSError, ValueError, KeyError) as error:
            failure = error
        else:
            return ClipScorer(model, tokenizer, device)
    raise WeightsError(
        f"CLIP {place!r} cannot be loaded ({str(failure).strip().splitlines()[0]}). Give a "
        f"folder that holds one, or a name on huggingface.co such as {CLIP!r} while online."
    ) from failure


def _prepared(picture: RgbArray, side: int) -> FloatArray:
    """(h, w, 3) uint8 → (3, side, side) float32."""
    height, width = picture.shape[:2]
    scale = side / min(height, width)
    size = (max(side, int(width * scale)), max(side, int(height * scale)))
    resized = Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BICUBIC)
    left, top = (round((length - side) / 2) for length in size)
    pixels = np.asarray(resized.crop((left, top, left + side, top + side)), dtype=np.float32)
    normal = ((pixels / 255 - _MEAN) / _STD).transpose(2, 0, 1)
    return np.ascontiguousarray(normal, dtype=np.float32)
