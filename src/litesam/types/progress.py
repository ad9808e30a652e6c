"""How long work reports, and how it is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long piece of work is: ``done`` of ``total`` steps, and what it does now."""

    done: int
    total: int
    message: str = ""


OnProgress = Callable[[Progress], None]
IsCancelled = Callable[[], bool]
