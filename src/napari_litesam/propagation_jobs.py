"""Objects carried through a stack: what the worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litesam.types import BoolArray, PropagateConfig
    from litesam.volume.propagated import Propagated
    from napari_litesam.jobs import JobContext
    from napari_litesam.requests import ImageSource
    from napari_litesam.segmenters import SegmenterPool


def carry(
    pool: SegmenterPool,
    source: ImageSource,
    others: tuple[int, ...],
    known: Mapping[tuple[int, int], BoolArray],
    config: PropagateConfig,
    context: JobContext,
) -> Propagated:
    """Carry objects through a stack.

    Raises
    ------
    LiteSamError
        See `litesam.volume.propagate.propagate`.
    """
    from litesam.volume.propagate import propagate
    from litesam.volume.propagated import Seed

    segmenter = pool.get(source, context)
    letters = [letter for letter in source.axes if letter not in "CSYX"]
    return propagate(
        segmenter,
        [Seed(number, at, mask=mask) for (number, at), mask in known.items()],
        axis=letters[-1],
        index=others,
        config=config,
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )


def carry_file(
    pool: SegmenterPool,
    source: ImageSource,
    others: tuple[int, ...],
    path: str,
    config: PropagateConfig,
    context: JobContext,
) -> Propagated:
    """Carry the objects of a prompts file through a stack; they are numbered from 1.

    Raises
    ------
    LiteSamError
        If the file does not fit the stack; see `litesam.volume.propagate.propagate`.
    """
    from litesam.errors import PromptError
    from litesam.io import read_prompted_objects
    from litesam.volume.propagate import propagate
    from litesam.volume.propagated import Seed

    letters = "".join(letter for letter in source.axes if letter not in "CSYX")
    axes, objects = read_prompted_objects(path)
    if not axes.endswith(letters[-1]) or not set(axes) <= set(letters):
        raise PromptError(
            f"{path} has the columns {', '.join(axes.lower()) or 'of no slices'}; objects that are "
            f"carried through a stack with the axes {source.axes} need {letters[-1].lower()}."
        )
    here = dict(zip(letters, others, strict=False))
    wanted = tuple(here[axis] for axis in axes[:-1])
    seeds: list[Seed] = []
    for places in objects.values():
        at = {place[-1]: prompts for place, prompts in places.items() if place[:-1] == wanted}
        number = len({seed.object for seed in seeds}) + 1
        seeds += [Seed(number, where, prompts=prompts) for where, prompts in at.items()]
    if not seeds:
        shown = ", ".join(f"{axis.lower()} = {at}" for axis, at in here.items())
        raise PromptError(f"{path} has no object at {shown}, which is shown.")
    segmenter = pool.get(source, context)
    return propagate(
        segmenter,
        seeds,
        axis=letters[-1],
        index=others,
        config=config,
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )


def carry_on(
    result: Propagated, known: Mapping[tuple[int, int], BoolArray], context: JobContext
) -> Propagated:
    """Take up corrections; see `litesam.volume.propagate.corrected`."""
    from litesam.volume.propagate import corrected
    from litesam.volume.propagated import Seed

    return corrected(
        result,
        [Seed(number, at, mask=mask) for (number, at), mask in known.items()],
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )
