"""Small JSON tables in the user's folder, changed by one process at a time and never half-written.

Three are kept: the hashes of files without a published one, the accepted licences, and the user's
own models.
"""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from litesam.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path


def read_table(path: Path) -> dict[str, Any]:
    """Return the table in a file; a missing or damaged one counts as empty."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def change_table(path: Path, key: str, value: Any) -> None:
    """Set an entry of the table in a file, or remove it (None).

    A damaged file is kept beside the new one, with ``.damaged`` added to its name.

    Raises
    ------
    WeightsError
        If the file cannot be written.
    """
    if read_table(path).get(key) == value:
        return
    part = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            table = read_table(path)
            if not table and path.exists() and path.stat().st_size > len("{}\n"):
                os.replace(path, path.with_name(path.name + ".damaged"))
            table.pop(key, None)
            if value is not None:
                table[key] = value
            try:
                part.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror or error}.") from error
