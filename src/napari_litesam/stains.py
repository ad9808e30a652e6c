"""What the model sees as red, green and blue: layers, or channels of them. Values alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from napari.layers import Image

from litesam.preprocess import Composite


@dataclass(frozen=True, slots=True)
class Stain:
    """A layer without channels, or one channel of a layer."""

    layer: Image
    channel: int | None = None

    @property
    def name(self) -> str:
        """Name for the user."""
        channel = "" if self.channel is None else f": channel {self.channel}"
        return f"{self.layer.name}{channel}"


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """What the model sees as red, green and blue.

    Attributes
    ----------
    stains
        Three; None: nothing of that colour.
    built
        Images that were made of them, by what they were made of; see `colours.composite_of`.
    """

    stains: tuple[Stain | None, ...]
    built: dict[tuple[Any, ...], tuple[tuple[Any, ...], Composite]] = field(
        default_factory=dict, init=False
    )

    @property
    def given(self) -> tuple[Stain, ...]:
        """The stains that there are."""
        return tuple(stain for stain in self.stains if stain is not None)

    @property
    def layers(self) -> tuple[Image, ...]:
        """Their layers, each once."""
        return tuple(dict.fromkeys(stain.layer for stain in self.given))

    def replaced(self, colour: int, stain: Stain | None) -> Colours:
        """Return the same with another stain as one colour; one that was there changes places."""
        stains = list(self.stains)
        if stain is not None and stain in stains:
            stains[stains.index(stain)] = stains[colour]
        stains[colour] = stain
        return Colours(tuple(stains))
