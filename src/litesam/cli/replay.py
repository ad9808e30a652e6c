"""``litesam label --session``: a saved session again, without a window."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import open_store
from litesam.cli.outputs import check_keeps_inputs, write_lists
from litesam.cli.terminal import UsageError, complain, progress_bars, say, say_json

if TYPE_CHECKING:
    import argparse

    from litesam.cli.outputs import Outputs
    from litesam.session import Replayed, Session

#: Options that a session answers itself, by the name of their value.
_ANSWERED = (
    *("model", "weights", "hq", "axes", "index", "channel", "limits", "per_plane"),
    *("proposals", "boxes", "proposer", "prompts", "prompts_as", "select", "text", "text_model"),
    "text_download",
)


def run_session(args: argparse.Namespace, outputs: Outputs) -> int:
    """Replay ``args.session`` and write its labels.

    Raises
    ------
    LiteSamError
        If the session, its image or the output is not as it must be.
    """
    from litesam.io import write_labels, write_overlay
    from litesam.session import object_details, read_session, replay

    start = time.perf_counter()
    session = read_session(args.session)
    check_keeps_inputs(outputs.files, _files_of(session, args.session.parent))
    store = open_store(args.store) if args.store or args.cache else None
    with progress_bars(quiet=args.quiet) as bars:
        bars.begin(args.session.name)
        done = replay(
            session,
            args.images[0] if args.images else None,
            folder=args.session.parent,
            device=args.device,
            store=store,
            on_progress=bars.part(0),
        )
    write_labels(
        outputs.labels,
        done.labels,
        done.axes,
        done.scale,
        unit=done.image.unit,
        overwrite=args.overwrite,
        ome_zarr=args.ome_zarr or "0.5",
    )
    write_lists(
        outputs,
        done.labels,
        done.axes,
        done.scale,
        unit=done.image.unit,
        details=object_details(session, done.records),
        file_name=done.image.name if session.image.path is None else Path(session.image.path).name,
        overwrite=args.overwrite,
    )
    if outputs.overlay is not None:
        index = _fullest_plane(done)
        rgb = done.segmenter.plane(index or None).rgb
        write_overlay(outputs.overlay, rgb, done.labels[index], overwrite=args.overwrite)
    _say_result(args, done, outputs, time.perf_counter() - start)
    return 0


def _files_of(session: Session, folder: Path) -> list[Path]:
    """The files that a session names, as far as they lie where it says."""
    images = (session.image, *session.image.colours)
    names = [one.path for one in images if one is not None and one.path is not None]
    names += [] if session.model.weights is None else [session.model.weights]
    return [place for name in names for place in (folder / name, folder / Path(name).name)]


def check_session_options(args: argparse.Namespace, config_fields: tuple[str, ...]) -> None:
    """Refuse options that the session answers, and more than one image.

    Raises
    ------
    UsageError
        If there is such an option.
    """
    defaults = {"model": "lite_sam", "hq": False, "per_plane": False, "text_download": False}
    given = [
        f"--{name.replace('_', '-')}"
        for name in (*_ANSWERED, *config_fields)
        if getattr(args, name) != defaults.get(name)
    ]
    if given:
        raise UsageError(f"--session says all that {' and '.join(given)} would; leave it out.")
    if len(args.images) > 1:
        raise UsageError(f"--session goes with one image, here are {len(args.images)}.")


def _fullest_plane(done: Replayed) -> tuple[int, ...]:
    """Plane with most objects."""
    import numpy as np

    planes = list(np.ndindex(done.labels.shape[:-2]))
    return max(planes, key=lambda index: len(np.unique(done.labels[index])))


def _say_result(args: argparse.Namespace, done: Replayed, outputs: Outputs, seconds: float) -> None:
    import numpy as np

    objects = len(np.setdiff1d(np.unique(done.labels), [0]))
    different = sorted({one.id for one in done.different})
    if different:
        shown = ", ".join(map(str, different[:10])) + (" …" if len(different) > 10 else "")
        complain(
            f"{len(different)} objects are not as they were committed (ids {shown}): the image, "
            "the weights or the machine is another."
        )
    result: dict[str, Any] = {
        "session": str(args.session),
        **outputs.as_json(),
        "axes": done.axes,
        "shape": list(done.labels.shape),
        "objects": objects,
        "different": different,
        "seconds": round(seconds, 3),
    }
    if args.json:
        say_json([result])
        return
    say(
        f"{outputs.labels}: {'1 object' if objects == 1 else f'{objects} objects'}, {seconds:.1f} s"
    )
    for path in outputs.files[1:]:
        say(str(path))
