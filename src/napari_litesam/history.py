"""Steps of undo of one panel: what the prompts were, and what was written into Labels layers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from napari_litesam.label_layer import Written
from napari_litesam.prompt_layers import PromptSnapshot

_LENGTH = 200


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of undo: the prompts before it, and what it wrote into a Labels layer."""

    prompts: PromptSnapshot
    written: Written | None = None


class History:
    """The newest steps, and the prompts as they are now.

    Attributes
    ----------
    last
        The prompts after the newest step.
    """

    def __init__(self) -> None:
        self._steps: deque[Step] = deque(maxlen=_LENGTH)
        self.last = PromptSnapshot()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to undo."""
        return not self._steps

    def follow(self, now: PromptSnapshot) -> bool:
        """Note the prompts of now; return whether that was a step."""
        if now == self.last:
            return False
        self.push()
        self.last = now
        return True

    def push(self, written: Written | None = None) -> None:
        """Add a step: what is undone goes back to the prompts of now and takes out the write."""
        self._steps.append(Step(self.last, written))

    def pop(self) -> Step | None:
        """Take the newest step; None if there is none."""
        return self._steps.pop() if self._steps else None

    def clear(self) -> None:
        """Forget all steps: the prompts are another image's or gone."""
        self._steps.clear()
        self.last = PromptSnapshot()
