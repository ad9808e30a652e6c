"""An AutoPPN trained on the embeddings of another model, as that model's proposer.

"AutoPPN plugs into any SAM" (Fu et al. 2024): it only sees the image embedding. Its file
(`litesam.training.auto_ppn`) holds the network alone and says whose embeddings it was trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from litesam.errors import ModelMismatchError, WeightsError
from litesam.models.auto_ppn import AutoPPN
from litesam.models.folding import fold
from litesam.models.state_dicts import read_state_dict
from litesam.predictors.base import check_embedding, load_predictor
from litesam.predictors.proposing import propose_prompts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litesam.predictors.base import Predictor, RgbArray
    from litesam.types import Embedding, IntArray, Masks, PromptBatch, Proposals

#: What the metadata of such a file says it is.
KIND = "auto_ppn"


class ProposingPredictor:
    """A predictor with an AutoPPN of its own: everything else is the predictor's.

    Parameters
    ----------
    predictor
        The model.
    auto_ppn
        AutoPPN for its embeddings; it is this object's from here on.
    """

    def __init__(self, predictor: Predictor, auto_ppn: AutoPPN) -> None:
        self._predictor = predictor
        self.spec = predictor.spec
        self.device = predictor.device
        self.weights_hash = predictor.weights_hash
        self.encoder_hash = predictor.encoder_hash
        fold(auto_ppn).to(predictor.device).requires_grad_(False)
        self._auto_ppn = auto_ppn

    def encode(self, rgb: RgbArray, origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
        """Encode one region of an image; see `litesam.predictors.base.Predictor.encode`."""
        return self._predictor.encode(rgb, origin_yx)

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Decode prompts; see `litesam.predictors.base.Predictor.decode`."""
        return self._predictor.decode(embedding, prompts, multimask=multimask)

    def decode_windows(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Decode prompts; see `litesam.predictors.base.Predictor.decode_windows`."""
        return self._predictor.decode_windows(embedding, prompts, multimask=multimask)

    def batches(
        self, embedding: Embedding, prompts: PromptBatch, batch_size: int = 64
    ) -> Iterator[IntArray]:
        """Yield index arrays of prompts; see `litesam.predictors.base.Predictor.batches`."""
        return self._predictor.batches(embedding, prompts, batch_size)

    def propose(
        self, embedding: Embedding, *, top_n: int, confidence_threshold: float
    ) -> Proposals:
        """Return AutoPPN's points and boxes, the most confident first."""
        check_embedding(embedding, self.spec, self.encoder_hash)
        # A copy: arrays from a store may be read-only.
        image = torch.from_numpy(np.array(embedding.features["image"]))[None].to(self.device)
        with torch.inference_mode():
            return propose_prompts(
                self._auto_ppn(image),
                embedding.frame,
                top_n=top_n,
                confidence_threshold=confidence_threshold,
            )


def load_proposer(path: str | Path, predictor: Predictor) -> Predictor:
    """Load who proposes for a model in everything mode.

    Parameters
    ----------
    path
        A file of ``litesam train-ppn`` for the model, or the weights of a Lite-SAM.
    predictor
        The model.

    Returns
    -------
    Predictor
        To be given as ``proposer``. With a file of ``train-ppn`` it shares the embeddings of the
        model.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or neither of the two.
    ModelMismatchError
        If it was trained on the embeddings of another encoder, or of other weights of it.
    """
    path = Path(path).expanduser()
    known = _metadata(path)
    if known.get("model") != KIND:
        return load_predictor("lite_sam", path, predictor.device)
    if (known.get("encoder"), known.get("encoder_hash")) != (
        predictor.spec.encoder_name,
        predictor.encoder_hash,
    ):
        raise ModelMismatchError(
            f"{path} proposes for the encoder {known.get('encoder')!r} "
            f"({str(known.get('encoder_hash'))[:12]}…), not for that of {predictor.spec.name!r} "
            f"({predictor.spec.encoder_name!r}, {predictor.encoder_hash[:12]}…). Train one for it: "
            f"litesam train-ppn --model {predictor.spec.name}."
        )
    network = AutoPPN(predictor.spec.feature_shapes["image"][0])
    try:
        network.load_state_dict({n: t.float() for n, t in read_state_dict(path).items()})
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not hold the tensors of an AutoPPN ({error}); get or train it again."
        ) from error
    return ProposingPredictor(predictor, network)


def _metadata(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file; none for other files."""
    if not path.is_file():
        raise WeightsError(f"Weights file {path} does not exist; check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError:
        return {}
