"""Write the table of models in docs/reference/models.md from the registry.

Run it after a row of the registry or docs/reference/encode-times.csv has changed::

    python docs/generate_models_table.py

A test compares the page with what this program makes.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from litesam.models.registry import MODELS, get_spec

if TYPE_CHECKING:
    from litesam.types import ModelSpec

PAGE = Path(__file__).parent / "reference" / "models.md"
TIMES = Path(__file__).parent / "reference" / "encode-times.csv"
START, END = "<!-- models: start -->", "<!-- models: end -->"
HEADINGS = (
    "name",
    "model",
    "parameters",
    "input",
    "weights' licence",
    "download",
    "memory",
    "encode time",
    "prompts",
    "HQ",
    "everything modes",
)


def make_table() -> str:
    """Return the table in Markdown."""
    times = _read_times()
    rows = [HEADINGS, tuple("---" for _ in HEADINGS)]
    rows += [_row(spec, times.get(spec.name)) for spec in MODELS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def insert_table(page: str) -> str:
    """Return a page with the table between its marks replaced."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{make_table()}\n{END}{after}"


def _row(spec: ModelSpec, ratio: float | None) -> tuple[str, ...]:
    weights = spec.weights
    licence = weights.licence
    if weights.licence_url is not None:
        licence = f"[{licence}]({weights.licence_url})"
    return (
        f"`{spec.name}`",
        spec.title,
        f"{spec.parameters / 1e6:.1f} M",
        f"{spec.input_px} px" + (", squashed" if spec.resize == "squash" else ""),
        licence + ("" if weights.permissive else ", asked for first"),
        _download(spec),
        f"{spec.memory_bytes / 1e9:.1f} GB",
        "not measured" if ratio is None else f"{ratio:.2f}",
        ", ".join(spec.prompts) + (f" (≤ {spec.max_points} points)" if spec.max_points else ""),
        _hq(spec),
        ", ".join(spec.proposals),
    )


def _download(spec: ModelSpec) -> str:
    weights = spec.weights
    if weights.bundled:
        return "none: in the package"
    size = weights.size_bytes or weights.approx_bytes
    about = "about " if weights.size_bytes is None else ""
    own = "by file only" if size is None else f"{about}{size / 1e6:.0f} MB"
    if spec.encoder_from is None:
        return own
    encoder = get_spec(spec.encoder_from).weights
    by_hand = " (by file only)" if encoder.page else ""
    return f"{own}, and `{encoder.file}`{by_hand}"


def _hq(spec: ModelSpec) -> str:
    if spec.hq is None:
        return "–"
    return "always" if spec.hq == spec.name else f"`{spec.hq}`"


def _read_times() -> dict[str, float]:
    with TIMES.open(newline="") as file:
        return {row["model"]: float(row["ratio"]) for row in csv.DictReader(file)}


if __name__ == "__main__":
    PAGE.write_text(insert_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
