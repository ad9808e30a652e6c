"""What is known of a model and of its weights without loading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from litesam.frames import Frame, fit_letterbox, fit_longest_side, fit_squash

#: HQ off; SAM's logits and those of the HQ token, added; or those of the HQ token alone.
HqMode = bool | Literal["only"]


#: Ways in which everything mode knows what to ask the decoder: a regular grid of points; places and
#: boxes of AutoPPN; boxes alone, of AutoPPN or of the caller; or nothing is asked, because the
#: network finds instances by itself.
PROPOSALS = ("grid", "auto_ppn", "boxes", "instances")

#: Licences whose weights are fetched without a question.
PERMISSIVE_LICENCES = frozenset({"Apache-2.0", "BSD-3-Clause", "MIT"})


@dataclass(frozen=True, slots=True)
class WeightsSpec:
    """Where a model's weights come from.

    Attributes
    ----------
    file
        File name in the package (bundled) or of the official checkpoint.
    url
        Download address; None for bundled weights and for files that no program can fetch.
    sha256
        Expected hash; None where no trustworthy one is known.
    size_bytes
        Size of the file, or None if unknown.
    licence
        SPDX name of the weights' licence, or its own name.
    container
        Keys that lead to the state dict inside the file, outermost first; empty: the file is the
        state dict or wraps it in one of the usual ways.
    mirrors
        Other addresses of the same file, tried in this order.
    approx_bytes
        About this size, where ``size_bytes`` is not known.
    licence_url, licence_note
        Where the licence can be read, and what it means for the user, in one sentence.
    page
        Web page of a file that has no download address: the user gets it there by hand.
    parts
        For a file of several state dicts: the name of each and the prefix that its tensors have in
        the network.
    other_parts
        Whether the official file may hold tensors of parts that the network does not have (the
        first word of their names); they are left out.
    own
        Whether the file is of a model that the user added (`litesam.models.own_models`).
    """

    file: str
    url: str | None
    sha256: str | None
    size_bytes: int | None
    licence: str
    container: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    approx_bytes: int | None = None
    licence_url: str | None = None
    licence_note: str | None = None
    other_parts: bool = False
    page: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    own: bool = False

    @property
    def bundled(self) -> bool:
        """Whether the file is part of the installed package."""
        elsewhere = (self.url, self.page)
        return not self.own and all(place is None for place in elsewhere)

    @property
    def permissive(self) -> bool:
        """Whether the licence allows any use, so that nobody has to be asked."""
        return self.licence in PERMISSIVE_LICENCES


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is particular to one model.

    Attributes
    ----------
    name, title
        Short name for code and command line; name for people.
    family
        Predictor that runs it.
    builder
        ``"module:function"`` that builds the whole network; a string, so that listing models
        imports no torch.
    input_px
        Longest side of the picture that the network sees, model pixels.
    resize
        Rule from image to input: ``"longest_side"`` (aspect ratio kept, padded right and bottom to
        a square), ``"squash"`` (to a square) or ``"letterbox"`` (aspect ratio kept, centred
        padding to multiples of 32).
    pixel_mean, pixel_std
        RGB statistics on the 0–255 scale.
    feature_shapes
        Shape of each named feature for one input; empty where it depends on the image.
    prompts
        Prompts that the model takes: ``"point"``, ``"box"``, ``"mask"``, ``"text"`` (with the extra
        of that name).
    proposals
        Ways of everything mode (`PROPOSALS`), the default first.
    hq
        Name of the model to use with the HQ toggle on, or None.
    weights
        Where the weights come from.
    parameters
        Number of parameters of the whole model.
    paper
        Citation.
    everything
        Its own defaults of everything mode, see `litesam.everything.resolve_config`.
    encoder
        Name of the encoder. Models of the same encoder share embeddings while its weights are the
        same. Empty: the name of the model.
    prompt_px
        Side of the frame of prompts and masks, model pixels; None: ``input_px``.
    max_enlargement
        Largest factor by which a small region is enlarged to fill the input; None: it always fills
        it. Objects of a tiny plane would otherwise be seen larger than any that a network knows.
    looks_closer
        Whether small objects are looked at again in smaller tiles (`litesam.tiling.closer_side`);
        for models that encode quickly, and that were measured.
    corrects
        Whether ``decode`` takes the clicks of an object one after the other, each as a correction
        of the mask so far. Other models decode all at once, and can be given that mask as a prompt.
    max_points
        Most points (a box counts as two) of one prompt; None: no limit.
    memory_bytes
        Resident memory that loading and encoding need, about.
    proposer
        Name of the model whose AutoPPN says where objects are; None: its own.
    encoder_from
        Name of the model, or of the encoder (`litesam.models.registry.ENCODERS`), whose weights
        file gives the image encoder; the model's own file then holds the other parts. None: the
        own file holds everything.
    rest_from
        Name of the model whose standard file gives all tensors of that model, where the own file
        holds none of them: an HQ decoder alone, trained beside frozen weights. None: no such file.
    """

    name: str
    title: str
    family: str
    builder: str
    input_px: int
    resize: Literal["longest_side", "squash", "letterbox"]
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    feature_shapes: Mapping[str, tuple[int, ...]]
    prompts: tuple[str, ...]
    proposals: tuple[str, ...]
    hq: str | None
    weights: WeightsSpec
    parameters: int
    paper: str
    everything: Mapping[str, Any] = field(default_factory=dict)
    encoder: str = ""
    prompt_px: int | None = None
    max_enlargement: float | None = None
    looks_closer: bool = False
    corrects: bool = False
    max_points: int | None = None
    memory_bytes: int = 500_000_000
    proposer: str | None = "lite_sam"
    encoder_from: str | None = None
    rest_from: str | None = None

    @property
    def encoder_name(self) -> str:
        """Name under which embeddings are kept."""
        return self.encoder or self.name

    @property
    def selects(self) -> bool:
        """Whether prompts choose among instances that the network finds once, at encoding."""
        return "instances" in self.proposals

    @property
    def frame_px(self) -> int:
        """Side of the frame of prompts and masks, model pixels."""
        return self.input_px if self.prompt_px is None else self.prompt_px

    def frame(self, size_yx: tuple[int, int], origin_yx: tuple[int, int] = (0, 0)) -> Frame:
        """Return the frame in which the model sees a region of an image.

        Parameters
        ----------
        size_yx, origin_yx
            Size and top-left pixel of the region, image pixels.
        """
        if self.resize == "letterbox":
            return fit_letterbox(size_yx, self.frame_px, origin_yx)
        if self.resize == "squash":
            return fit_squash(size_yx, self.frame_px, origin_yx)
        return fit_longest_side(size_yx, self.frame_px, origin_yx, self.max_enlargement)
