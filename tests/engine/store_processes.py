"""What other processes do to a store in the tests. Imports no torch, so they start quickly."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np
from store_contract import features_of, key_of

from litesam.errors import StoreError
from litesam.store import ZarrStore


def die_while_putting(path: str, step: int) -> None:
    """Put entry 1 and be killed with SIGKILL at that flush (from 0), or after the rename (-1)."""
    store = ZarrStore(path)
    calls = 0
    flush, rename = os.fsync, os.rename

    def counted_flush(descriptor: int) -> None:
        nonlocal calls
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        flush(descriptor)

    def fatal_rename(*args: str) -> None:
        rename(*args)
        if step < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync, os.rename = counted_flush, fatal_rename
    store.put(key_of(1), features_of(1))


def put_forever(path: str) -> None:
    """Put big entries one after the other until somebody kills this process."""
    store = ZarrStore(path)
    number = 0
    while True:
        store.put(key_of(number % 8), features_of(number % 8, size=200_000))
        number += 1


def put_with_file_size_limit(path: str) -> None:
    """Put entries under a limit of the size of files, as on a full disk; say what happened."""
    store = ZarrStore(path)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    store.put(key_of(1), features_of(1, size=4000))
    try:
        store.put(key_of(2), features_of(2, size=100_000))
    except StoreError as error:
        code = getattr(error.__cause__, "errno", 0)
        sys.stdout.write(f"{errno.errorcode[code]}: {error}")


def work_on_same_keys(path: str, seed: int, rounds: int) -> list[str]:
    """Put, get and delete the same few keys as others do; return what went wrong."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("litesam")
    logger.setLevel(logging.WARNING)
    logger.addHandler(Collector())
    store = ZarrStore(path)
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        number = int(rng.integers(3))
        action = rng.random()
        if action < 0.45:
            # The content differs by writer, so a mixture of two writers' files would be noticed.
            store.put(key_of(number), features_of(10 * seed + number))
        elif action < 0.9:
            entry = store.get(key_of(number))
            if entry is not None:
                allowed = [features_of(10 * s + number)["image"].tobytes() for s in (1, 2)]
                if entry["image"].tobytes() not in allowed:
                    messages.append(f"entry {number} is of nobody")
        else:
            store.delete(key_of(number))
    return messages


def put_range(path: str, start: int, stop: int, max_bytes: int | None) -> None:
    """Put entries of different keys."""
    store = ZarrStore(path, max_bytes)
    for number in range(start, stop):
        store.put(key_of(number), features_of(number))


def main() -> None:
    """Run ``python store_processes.py FUNCTION PATH [INTEGERS]``."""
    name, path, *numbers = sys.argv[1:]
    globals()[name](str(Path(path)), *map(int, numbers))


if __name__ == "__main__":
    main()
