"""What a run tells while it goes on."""

import io

import pytest
from rich.console import Console

from lab.toy_tasks import Toy
from sigmoe.lab import _progress
from sigmoe.lab._progress import Clock, RunProgress, in_words


def test_the_time_left_is_weighed_by_cost_and_shared_by_workers():
    clock = Clock(total=100.0, workers=2)
    assert clock.seconds_left() is None
    clock.add(cost=20.0, seconds=10.0)
    # 80 units of cost are left, at half a second a unit, on two workers.
    assert clock.seconds_left() == pytest.approx(20.0)
    clock.add(cost=80.0, seconds=10.0)
    assert clock.seconds_left() == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "time left unknown"),
        (0, "5 s left"),
        (42, "40 s left"),
        (89, "90 s left"),
        (100, "2 min left"),
        (3590, "1 h 0 min left"),
        (9000, "2 h 30 min left"),
    ],
)
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words


def progress(console, done=()):
    tasks = {t.task_id: t for t in map(Toy, range(3))}
    return tasks, RunProgress(console, tasks, set(done), lambda t: t.number + 1.0, workers=1)


def test_a_terminal_gets_a_bar_with_counts_and_time_left():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    tasks, shown = progress(console, [Toy(0).task_id])
    with shown:
        shown(Toy(1), {"failed": True, "seconds": 4.0})
    text = screen.getvalue()
    assert "1 of 3 tasks, time left unknown" in text
    # 3 units of cost are left, at two seconds a unit.
    assert "2 of 3 tasks, 1 failed, 5 s left" in text
    assert len(tasks) == 3


def test_elsewhere_a_line_comes_now_and_then(monkeypatch):
    hour = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: hour[0])
    screen = io.StringIO()
    _, shown = progress(Console(file=screen, width=100))
    with shown:
        shown(Toy(0), {"failed": False, "seconds": 1.0})
        assert screen.getvalue() == ""
        hour[0] = 16.0
        shown(Toy(1), {"failed": False, "seconds": None})
    assert screen.getvalue() == "2 of 3 tasks, 5 s left\n"
