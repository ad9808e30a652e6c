"""Lanes: latest wins, cancel, errors, closing. A Qt event loop, no viewer."""

from __future__ import annotations

import threading
import time

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


def test_a_reply_that_comes_in_a_moment_is_met(lane, qtbot) -> None:
    """It is there before the window draws again, and once only."""
    replies = []
    lane.submit(lambda _: 1, replies.append, never)
    lane.meet(10)
    assert replies == [1]
    assert lane.idle
    qtbot.wait(20)
    assert replies == [1]


def test_a_reply_that_is_late_is_not_waited_for_again(lane, qtbot) -> None:
    gate, replies = threading.Event(), []

    def slow(_context):
        gate.wait(10)
        time.sleep(0.05)
        return "late"

    lane.submit(slow, replies.append, never)
    lane.meet(0.001)
    assert not replies
    gate.set()
    qtbot.waitUntil(lambda: replies == ["late"])
    lane.submit(lambda _: "next", replies.append, never)
    lane.meet(10)  # the job before was waited for in vain
    assert replies == ["late"]
    qtbot.waitUntil(lambda: replies == ["late", "next"])
    lane.submit(lambda _: "quick again", replies.append, never)
    lane.meet(10)
    assert replies[-1] == "quick again"


def test_after_a_job_that_takes_the_processor_for_long_none_is_waited_for(lane, qtbot) -> None:
    replies = []

    def work(_context):
        began = time.thread_time()
        while time.thread_time() - began < 0.05:
            pass
        return "worked"

    def sleep(_context):
        time.sleep(0.05)
        return "slept"

    lane.submit(work, replies.append, never)
    qtbot.waitUntil(lambda: replies == ["worked"])
    lane.submit(sleep, replies.append, never)
    lane.meet(0.02)
    qtbot.waitUntil(lambda: replies == ["worked", "slept"])
    # It took as long, but did not compute: beside the drawing of the window, every job is slow.
    lane.submit(lambda _: "met", replies.append, never)
    lane.meet(10)
    assert replies[-1] == "met"


def test_an_error_is_met_and_a_cancelled_job_says_nothing(lane, qtbot) -> None:
    errors = []

    def fail(_context):
        raise PromptError("no such point")

    lane.submit(fail, never, errors.append)
    lane.meet(10)
    assert [str(error) for error in errors] == ["no such point"]

    def stop(context):
        while not context.cancelled():
            time.sleep(0.001)
        raise Cancelled("stopped")

    lane.submit(stop, never, never)
    lane.cancel()
    lane.meet(10)
    assert lane.idle
