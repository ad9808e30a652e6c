"""What ``--text`` needs: a CLIP, which is downloaded only after the user was asked."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from litesam.cli.terminal import UsageError
from litesam.errors import WeightsError

if TYPE_CHECKING:
    import argparse

    from litesam.predictors import ClipScorer

_ABOUT = "605 MB, licence MIT"


def add_words_options(group: argparse._ArgumentGroup) -> None:
    """Add the options about words."""
    group.add_argument(
        "--text",
        metavar="WORDS",
        help="find everything, keep only the object of each plane that fits the words best; needs "
        "the extra napari-litesam[text] and a CLIP",
    )
    group.add_argument(
        "--text-model",
        metavar="CLIP",
        help="folder with a CLIP, or its name on huggingface.co "
        f"(default: openai/clip-vit-base-patch32, {_ABOUT})",
    )
    group.add_argument(
        "--text-download",
        action="store_true",
        help="download the CLIP, if it is not on this computer, without asking",
    )


def check_words(args: argparse.Namespace) -> None:
    """Refuse empty words, and options that nothing would look at.

    Raises
    ------
    UsageError
        If there is such an option.
    """
    if args.text is None:
        for name, value in (
            ("--text-model", args.text_model),
            ("--text-download", args.text_download),
        ):
            if value:
                raise UsageError(f"{name} goes with --text.")
    elif not args.text.strip():
        raise UsageError('--text is empty; say in words what is looked for, such as "a dark cell".')


def load_scorer(args: argparse.Namespace, device: str) -> ClipScorer:
    """Load the CLIP of the options, or download it after the user agreed.

    Raises
    ------
    ConfigError
        If the extra ``text`` is not installed.
    WeightsError
        If it is not here and may not be downloaded, or cannot be loaded.
    """
    from litesam.predictors import load_text_scorer
    from litesam.predictors.text import CLIP

    place = args.text_model or CLIP
    if _is_folder(place):
        return load_text_scorer(Path(place).expanduser(), device)
    try:
        return load_text_scorer(place, device, download=False)
    except WeightsError as error:
        if not _may_download(args, place):
            raise WeightsError(
                f"{_what(place)} is not on this computer, and nothing was downloaded. Add "
                "--text-download to get it from huggingface.co, or name a folder that holds a CLIP "
                "with --text-model."
            ) from error
    sys.stderr.write(f"Getting {_what(place)} from huggingface.co.\n")
    # One message at the end instead of one for each time that it was tried.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if args.quiet:
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
    return load_text_scorer(place, device)


def _is_folder(place: str) -> bool:
    """Whether a CLIP is named by a folder, be it there or not."""
    return Path(place).is_dir() or place.startswith(("/", ".", "~", "\\")) or place.count("/") > 1


def _what(place: str) -> str:
    from litesam.predictors.text import CLIP

    return f"CLIP {place} ({_ABOUT})" if place == CLIP else f"CLIP {place}"


def _may_download(args: argparse.Namespace, place: str) -> bool:
    """Whether the user wants the download; where nobody can be asked, only as an option."""
    if args.text_download:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"--text needs {_what(place)}, which is not on this computer.\n")
    if "(" not in _what(place):
        sys.stderr.write(f"Its licence is on https://huggingface.co/{place}\n")
    sys.stderr.write("Download it once from huggingface.co? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
