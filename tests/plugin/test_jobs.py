"""Lanes: latest wins, cancel, errors, closing. A Qt event loop, no viewer."""

from __future__ import annotations

import threading

import pytest

from litesam.errors import Cancelled, PromptError
from litesam.types import Progress
from napari_litesam.jobs import Lane


@pytest.fixture
def lane(qapp):
    made = Lane("test")
    yield made
    made.close()


def never(_value):
    raise AssertionError("this reply is stale")


def test_reply_arrives_in_the_gui_thread(lane, qtbot) -> None:
    seen = []
    lane.submit(
        lambda _: threading.current_thread(),
        lambda worker: seen.append((worker, threading.current_thread())),
        never,
    )
    assert lane.busy
    qtbot.waitUntil(lambda: bool(seen))
    assert seen[0][0] is not threading.main_thread()
    assert seen[0][1] is threading.main_thread()
    assert not lane.busy


def test_overtaken_job_finishes_its_work_but_does_not_reply(lane, qtbot) -> None:
    gate, worked, replies = threading.Event(), [], []

    def slow(_context):
        gate.wait(10)
        worked.append("first")

    lane.submit(slow, never, never)
    for number in range(3):
        lane.submit(
            lambda _, n=number: worked.append(n) or n,
            replies.append if number == 2 else never,
            never,
        )
    gate.set()
    qtbot.waitUntil(lambda: replies == [2])
    assert worked == ["first", 2]


def test_cancel_reaches_the_running_job(lane, qtbot) -> None:
    started = threading.Event()

    def slow(context):
        started.set()
        while not context.cancelled():
            threading.Event().wait(0.005)
        raise Cancelled("stopped")

    lane.submit(slow, never, never)
    qtbot.waitUntil(started.is_set)
    lane.cancel()
    assert not lane.busy
    qtbot.waitUntil(lambda: lane.idle)


def test_a_job_that_waits_for_one_that_stops_is_wanted(lane, qtbot) -> None:
    gate, started, replies = threading.Event(), threading.Event(), []

    def slow(_context):
        started.set()
        gate.wait(30)

    lane.submit(slow, never, never)
    qtbot.waitUntil(started.is_set)
    lane.cancel()
    lane.submit(lambda _: "new", replies.append, never)
    assert lane.busy
    gate.set()
    qtbot.waitUntil(lambda: replies == ["new"])
    assert not lane.busy


def test_progress(lane, qtbot) -> None:
    seen, done = [], []
    lane.progressed.connect(seen.append)

    def job(context):
        for i in range(3):
            context.on_progress(Progress(i, 3, "step"))

    lane.submit(job, done.append, never)
    qtbot.waitUntil(lambda: bool(done))
    assert [p.done for p in seen] == [0, 1, 2]


def test_engine_error_goes_to_its_callback_and_a_bug_surfaces(lane, qtbot) -> None:
    errors = []

    def wrong(_context):
        raise PromptError("outside")

    lane.submit(wrong, never, errors.append)
    qtbot.waitUntil(lambda: bool(errors))
    assert isinstance(errors[0], PromptError)

    def bug(_context):
        raise ZeroDivisionError

    with qtbot.captureExceptions() as raised:
        lane.submit(bug, never, never)
        qtbot.waitUntil(lambda: lane.idle)
    assert [kind for kind, *_ in raised] == [ZeroDivisionError]


def test_closed_lane_is_silent(lane, qtbot) -> None:
    gate = threading.Event()
    lane.submit(lambda _: gate.wait(10), never, never)
    lane.close()
    gate.set()
    qtbot.wait(50)
    lane.submit(lambda _: None, never, never)
    qtbot.wait(20)
    assert lane.idle
