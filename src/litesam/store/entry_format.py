"""One entry of the zarr store as files: pure functions between arrays and bytes, no disk.

An entry is a zarr v3 group with one array per feature. Each array is one shard (a shard is the unit
of writing), cut into compressed chunks. The group's attributes hold the key, the metadata and a
checksum over the bytes of *all* files of the entry, its own ``zarr.json`` included (with the
checksum left blank), so a flipped bit anywhere is noticed.

Reading goes the other way and decodes the very bytes that were verified, never the disk a second
time.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.buffer import cpu
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore as ZarrMemoryStore

from litesam.store.base import Entry
from litesam.types import AnyArray, EmbeddingKey

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Raised when the layout below changes; entries of another version are misses.
FORMAT_VERSION = 1
GROUP_FILE = "zarr.json"
_ATTRIBUTE = "litesam"
_CHUNK_BYTES = 2**20


class DamagedEntryError(Exception):
    """The files are not a complete, unchanged entry of that key. Stays inside the store."""


def pack_entry(key: EmbeddingKey, entry: Entry) -> dict[str, bytes]:
    """Turn an entry into files: path relative to the entry's folder → content."""
    buffers: dict[str, cpu.Buffer] = {}
    attributes = {
        "version": FORMAT_VERSION,
        "key": asdict(key),
        "metadata": entry.metadata,
        "features": list(entry),
        "checksum": "",
    }
    group = zarr.create_group(
        store=ZarrMemoryStore(buffers), zarr_format=3, attributes={_ATTRIBUTE: attributes}
    )
    for name, array in entry.items():
        _write_array(group, name, array)
    files = {path: buffer.to_bytes() for path, buffer in buffers.items()}
    document = json.loads(files[GROUP_FILE])
    files[GROUP_FILE] = _canonical(document)
    document["attributes"][_ATTRIBUTE]["checksum"] = _checksum(files)
    files[GROUP_FILE] = _canonical(document)
    return files


def unpack_entry(key: EmbeddingKey, files: Mapping[str, bytes]) -> Entry:
    """Verify files and turn them into an entry.

    Raises
    ------
    DamagedEntryError
        If a file is missing, added or changed, or if it is an entry of another key or version.
    """
    content = dict(files)
    document = read_group(content)
    attributes = document["attributes"][_ATTRIBUTE]
    expected, attributes["checksum"] = attributes.get("checksum"), ""
    raw = content[GROUP_FILE]
    content[GROUP_FILE] = _canonical(document)
    if expected != _checksum(content):
        raise DamagedEntryError("its checksum does not match its content")
    attributes["checksum"] = expected
    if raw != _canonical(document):
        raise DamagedEntryError("its zarr.json was rewritten")
    if attributes["version"] != FORMAT_VERSION:
        raise DamagedEntryError(f"it has format version {attributes['version']}")
    if read_key(document) != key:
        raise DamagedEntryError("it belongs to another key")
    buffers = {path: cpu.Buffer.from_bytes(data) for path, data in files.items()}
    group = zarr.open_group(ZarrMemoryStore(buffers, read_only=True), mode="r", zarr_format=3)
    features = {name: np.asarray(group[name][...]) for name in attributes["features"]}
    return Entry(features, attributes["metadata"])


def read_group(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Parse the group's ``zarr.json``.

    Raises
    ------
    DamagedEntryError
        If it is missing or not one of this module's.
    """
    try:
        document = json.loads(files[GROUP_FILE])
    except KeyError:
        raise DamagedEntryError("its zarr.json is missing") from None
    except (ValueError, RecursionError) as error:
        raise DamagedEntryError(f"its zarr.json is not JSON ({error})") from error
    attributes = document.get("attributes") if isinstance(document, dict) else None
    if not isinstance(attributes, dict) or not isinstance(attributes.get(_ATTRIBUTE), dict):
        raise DamagedEntryError("its zarr.json has no litesam attributes")
    return dict(document)


def read_key(document: Mapping[str, Any]) -> EmbeddingKey:
    """Return the key that a group's ``zarr.json`` names.

    Raises
    ------
    DamagedEntryError
        If it names none.
    """
    try:
        fields = dict(document["attributes"][_ATTRIBUTE]["key"])
        y0, x0, y1, x1 = (int(n) for n in fields.pop("region"))
        return EmbeddingKey(**{k: str(v) for k, v in fields.items()}, region=(y0, x0, y1, x1))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedEntryError("its zarr.json names no key") from error


def _write_array(group: zarr.Group, name: str, array: AnyArray) -> None:
    """Write one feature as one shard; empty and 0-D arrays need none."""
    values = np.asarray(array, dtype=array.dtype.newbyteorder("="))
    chunks, shards = values.shape, None
    if values.size and values.ndim:
        chunks = (_rows_per_chunk(values), *values.shape[1:])
        shards = values.shape
    target = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(max(1, n) for n in chunks),
        shards=shards,
        compressors=BloscCodec(
            cname="zstd", clevel=1, shuffle="shuffle", typesize=values.dtype.itemsize
        ),
        config={"write_empty_chunks": True},  # else chunks of -0.0 come back as 0.0
    )
    target[...] = values


def _rows_per_chunk(values: AnyArray) -> int:
    """Largest divisor of the first axis whose chunk takes at most `_CHUNK_BYTES`."""
    rows = values.shape[0]
    wanted = max(1, math.floor(_CHUNK_BYTES / max(1, values.nbytes / rows)))
    return max(n for n in range(1, min(rows, wanted) + 1) if rows % n == 0)


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1).encode()


def _checksum(files: Mapping[str, bytes]) -> str:
    """BLAKE2b over names, lengths and bytes of all files."""
    digest = hashlib.blake2b(digest_size=32)
    for path in sorted(files):
        digest.update(f"{path}\0{len(files[path])}\0".encode())
        digest.update(files[path])
    return digest.hexdigest()
