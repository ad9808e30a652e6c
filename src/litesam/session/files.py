"""Session files: one JSON document, written as a whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.errors import ReadError, WriteError
from litesam.io import atomic_path
from litesam.session.decoding import session_from_json
from litesam.session.encoding import session_to_json

if TYPE_CHECKING:
    from litesam.session.values import Session


def write_session(
    path: str | os.PathLike[str], session: Session, *, overwrite: bool = False
) -> Path:
    """Write a session file.

    Parameters
    ----------
    path
        The file, usually ``NAME.json``.
    session
        What to write.
    overwrite
        Replace an existing file; it stays as it was until the new one is complete.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    WriteError
        If the file exists, the system refuses, or ``settings`` are no JSON values.
    """
    target = Path(path)
    text = session_text(session)
    with (
        atomic_path(target, overwrite=overwrite) as part,
        part.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return target


def session_text(session: Session) -> str:
    """Return the document: one line for each action and draft, so that people can read it."""
    document = session_to_json(session)
    parts = []
    for name, value in document.items():
        if name in ("actions", "drafts") and value:
            lines = ",\n".join("    " + json_line(item) for item in value)
            parts.append(f"  {json.dumps(name)}: [\n{lines}\n  ]")
        else:
            parts.append(f"  {json.dumps(name)}: {json_line(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def json_line(value: Any) -> str:
    """Return JSON on one line; floats as they are, to the last bit. Names of files that are no
    Unicode are escaped.

    Raises
    ------
    WriteError
        If there is a value that JSON has not, such as NaN or an array.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError:
            text = json.dumps(value, allow_nan=False)
        return text
    except (TypeError, ValueError) as error:
        raise WriteError(
            f"The session cannot be written: {error}. Settings must be texts, numbers, lists and "
            "dicts of them."
        ) from error


def read_session(path: str | os.PathLike[str]) -> Session:
    """Read a session file.

    Raises
    ------
    ReadError
        If the file is missing, damaged, of an unknown version, or no session; the message names
        the field.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReadError(
            f"The session {source} does not exist; check the name and the folder."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file (UTF-8)"
        raise ReadError(f"The session {source} cannot be read: {reason}.") from error
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReadError(
            f"{source} is no JSON document, or it is damaged ({error}); an autosave beside it may "
            "still be complete, see litesam.session.recover."
        ) from error
    return session_from_json(value, str(source))


def find_file(path: str, folder: str | os.PathLike[str] | None, what: str) -> Path:
    """Return a file that a session names.

    Parameters
    ----------
    path
        Absolute, or from ``folder``.
    folder
        Folder of the session's file. A file of that name there is taken as well where ``path``
        itself is gone: session and image may be moved together.
    what
        What it is, for the message.

    Raises
    ------
    ReadError
        If there is no such file.
    """
    base = Path(folder) if folder is not None else Path()
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    for candidate in (base / path, base / name):
        if name and candidate.exists():
            return candidate
    raise ReadError(
        f"{what} of the session, {path}, is not there (nor {name} in {base.absolute()}); put it "
        "back or name another one."
    )
