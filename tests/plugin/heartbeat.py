"""How long the window stands still."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

#: Longest time, in seconds, that the window may stand still while something is computed.
LONGEST_PAUSE_S = 0.05


class Heartbeat:
    """Beats in the GUI thread; tells how long that stood still.

    On a computer that is busy with other programs the clock goes on while this one waits for it.
    A pause counts as long as this program, with all its threads, was computing in it.
    """

    def __init__(self) -> None:
        self.beats: list[tuple[float, float]] = []
        self._timer = QTimer()
        self._timer.setInterval(5)
        self._timer.timeout.connect(
            lambda: self.beats.append((time.perf_counter(), time.process_time()))
        )
        self._timer.start()

    def stop(self) -> float:
        """Stop; return the longest pause, seconds."""
        self._timer.stop()
        return float(np.diff(self.beats, axis=0).min(axis=1).max())


def shortest_pause(trial: Callable[[], float], trials: int = 3) -> float:
    """Return the pause of the best of some trials, seconds; a good one ends them.

    Work in the window's own thread makes a pause in each of them; other programs on the computer
    make one now and then.
    """
    pauses = []
    for _ in range(trials):
        pauses.append(trial())
        if pauses[-1] < LONGEST_PAUSE_S:
            break
    print("pauses of", ", ".join(f"{pause * 1e3:.0f} ms" for pause in pauses))
    return min(pauses)
