"""What an HQ decoder takes from an image alone: computed at the first decode, kept for the next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from litesam.types import Embedding

#: Images whose fine features are kept, 4 or 8 MB each: the tiles that a person works on.
_IMAGES_IN_MEMORY = 4


class RecentDetails:
    """Fine features of the embeddings that were decoded last; safe to use from several threads."""

    def __init__(self) -> None:
        # With the embedding, so that its identity stays its own.
        self._kept: OrderedDict[int, tuple[Embedding, Tensor]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, embedding: Embedding, compute: Callable[[], Tensor]) -> Tensor:
        """Return the features of this very object, computed now if they are not kept."""
        with self._lock:
            if id(embedding) in self._kept:
                self._kept.move_to_end(id(embedding))
                return self._kept[id(embedding)][1]
        details = compute()
        with self._lock:
            self._kept[id(embedding)] = (embedding, details)
            while len(self._kept) > _IMAGES_IN_MEMORY:
                self._kept.popitem(last=False)
        return details
