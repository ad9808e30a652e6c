"""What autosave left on the disk."""

from __future__ import annotations

import time

from litesam.session import Recovered, find_journals, sessions_dir


def left_journals() -> list[Recovered]:
    """Journals that can be brought back, as soon as the writer is done."""
    for _ in range(100):
        found = find_journals(sessions_dir()) if sessions_dir().is_dir() else []
        locks = list(sessions_dir().glob("*.litesam-journal"))
        if len(found) == len(locks):
            return found
        time.sleep(0.05)
    raise AssertionError(f"the journals are still open: {locks}")
