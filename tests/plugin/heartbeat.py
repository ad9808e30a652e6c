"""How long the window stands still."""

from __future__ import annotations

import time

import numpy as np
from qtpy.QtCore import QTimer


class Heartbeat:
    """Beats in the GUI thread; tells how long that stood still."""

    def __init__(self) -> None:
        self.beats: list[float] = []
        self._timer = QTimer()
        self._timer.setInterval(5)
        self._timer.timeout.connect(lambda: self.beats.append(time.perf_counter()))
        self._timer.start()

    def stop(self) -> float:
        """Stop; return the longest pause, seconds."""
        self._timer.stop()
        return float(np.max(np.diff(self.beats)))
