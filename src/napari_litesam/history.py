"""Steps of undo and redo of one panel: what the user had said, and what was written into Labels
layers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari.layers import Labels

from napari_litesam.prompt_layers import PromptSnapshot
from napari_litesam.state import Words
from napari_litesam.writes import Written

if TYPE_CHECKING:
    from napari.layers import Layer

_LENGTH = 200
#: A kind of steps of which several in a row are one.
_NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate mask that the user chose, and the index of its plane."""

    index: tuple[int, ...] | None
    candidate: int


@dataclass(frozen=True, slots=True)
class Reopened:
    """An object that was opened again: its id, the index of the plane, and the layer it is in."""

    id: int
    index: tuple[int, ...] | None
    layer: Labels


@dataclass(frozen=True, slots=True)
class Moment:
    """All that undo goes back to, beside pixels.

    Attributes
    ----------
    prompts
        The prompts of all planes.
    choice
        The candidate in place of the one of highest predicted IoU; None: that one.
    review
        What of everything mode is under review: a value of the reviewer's, or None.
    reopened
        The committed object that the prompts refine, or None.
    number
        The id that the user chose for the next object; None: the next free one.
    words
        What the user looks for in place of prompts; None: nothing.
    """

    prompts: PromptSnapshot = field(default_factory=PromptSnapshot)
    choice: Choice | None = None
    review: object = None
    reopened: Reopened | None = None
    number: int | None = None
    words: Words | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A step back or forth: the moment to go to, and the write to take back or to do again."""

    moment: Moment
    written: Written | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """All steps of an image, as they are when the user turns to another one."""

    back: tuple[Step, ...] = ()
    forth: tuple[Step, ...] = ()
    now: Moment = field(default_factory=Moment)


class History:
    """The newest steps, and the moment of now. A new step makes those that were undone void.

    Attributes
    ----------
    now
        The moment after the newest step.
    """

    def __init__(self) -> None:
        self._back: deque[Step] = deque(maxlen=_LENGTH)
        self._forth: list[Step] = []
        self.now = Moment()
        self._kind = ""
        self._image: Layer | None = None
        self._others: WeakKeyDictionary[Layer, Past] = WeakKeyDictionary()

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._back)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step that was taken back."""
        return bool(self._forth)

    def follow(self, prompts: PromptSnapshot) -> bool:
        """Note the prompts of now; return whether that was a step."""
        if prompts == self.now.prompts:
            return False
        self.push()
        self.set_prompts(prompts)
        return True

    def set_prompts(self, prompts: PromptSnapshot) -> None:
        """Change the prompts of now as a part of a step; a choice was made for the old ones."""
        choice = self.now.choice if prompts == self.now.prompts else None
        reopened = None if prompts.empty else self.now.reopened
        self.now = replace(self.now, prompts=prompts, choice=choice, reopened=reopened)

    def reopen(self, prompts: PromptSnapshot, reopened: Reopened) -> None:
        """Put the prompts of a committed object in place of those of now, as a step."""
        self.push()
        self.now = replace(
            self.now, prompts=prompts, choice=None, reopened=reopened, number=None, words=None
        )

    def look_for(self, words: Words | None) -> None:
        """Put words in place of all prompts, or take all prompts and words away, as a step."""
        self.push()
        self.set_prompts(PromptSnapshot())
        self.set_words(words)

    def set_words(self, words: Words | None) -> None:
        """Change the words of now as a part of a step."""
        self.now = replace(self.now, words=words)

    def refined(self, layer: Labels | None) -> Reopened | None:
        """Return the object that the prompts refine, if it is one of a layer."""
        reopened = self.now.reopened
        return reopened if reopened is not None and reopened.layer is layer else None

    def number(self, number: int | None) -> None:
        """Choose the id of the next object; several choices one after the other are one step."""
        if self._kind != _NUMBER:
            self.push()
        self._kind = _NUMBER
        self.now = replace(self.now, number=number)

    def choose(self, choice: Choice) -> None:
        """Choose a candidate, as a step."""
        self.push()
        self.now = replace(self.now, choice=choice)

    def review(self, review: object, kind: str = "") -> None:
        """Change the review, as a step.

        Changes of the same ``kind`` one after the other, such as the moves of one slider, are one
        step.
        """
        if not (kind and kind == self._kind):
            self.push()
        self._kind = kind
        self.now = replace(self.now, review=review)

    def push(self, written: Written | None = None) -> None:
        """Begin a step: undo goes back to the moment of now and takes out the write."""
        self._back.append(Step(self.now, written))
        self._forth.clear()
        self._kind = ""

    def undo(self) -> Step | None:
        """Go one step back and return it; None if there is none."""
        if not self._back:
            return None
        self._kind = ""
        step = self._back.pop()
        self._forth.append(Step(self.now, step.written))
        self.now = step.moment
        return step

    def redo(self) -> Step | None:
        """Go one step forth again and return it; None if there is none."""
        if not self._forth:
            return None
        self._kind = ""
        step = self._forth.pop()
        self._back.append(Step(self.now, step.written))
        self.now = step.moment
        return step

    def void(self, layer: Labels) -> None:
        """Forget what was written into a layer: it is gone or has other pixels now."""
        for number, step in enumerate(self._back):
            self._back[number] = _without(step, layer)
        self._forth = [_without(step, layer) for step in self._forth]
        for image, past in list(self._others.items()):
            self._others[image] = replace(
                past,
                back=tuple(_without(step, layer) for step in past.back),
                forth=tuple(_without(step, layer) for step in past.forth),
            )

    def lose_prompts(self) -> None:
        """The layers of the prompts were taken away, which is a step if there was something."""
        now = self.now
        if not now.prompts.empty or now.review is not None or now.words is not None:
            self.push()
            self.now = Moment()

    # ------------------------------------------------------------------------------- several images

    def moment_of(self, image: Layer | None) -> Moment:
        """Return the moment of an image: that of now, or the one to which the user comes back."""
        if image is None or image is self._image:
            return self.now
        return self._others[image].now if image in self._others else Moment()

    @property
    def past(self) -> Past:
        """All steps, as they are now."""
        return Past(tuple(self._back), tuple(self._forth), self.now)

    def turn_to(self, image: Layer | None, past: Past) -> None:
        """Go on with the steps of another image, if it has any.

        Parameters
        ----------
        image
            The image that the user turns to; None: there is none.
        past
            The steps of the image that is left, before its prompts were taken out of the layers.
        """
        if self._image is not None:
            self._others[self._image] = past
        mine = Past() if image is None else self._others.pop(image, Past())
        self._image = image
        self._back = deque(mine.back, maxlen=_LENGTH)
        self._forth = list(mine.forth)
        self.now = mine.now
        self._kind = ""


def _without(step: Step, layer: Labels) -> Step:
    """Return a step that writes nothing into a layer."""
    written = step.written
    return Step(step.moment) if written is not None and written.layer is layer else step
