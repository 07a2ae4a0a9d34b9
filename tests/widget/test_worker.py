"""The worker's thread."""

from __future__ import annotations

from support.widgets import make, until, working


def test_thread_is_there_only_while_there_is_work() -> None:
    widget = make()
    widget.wait(60)
    until(lambda: not working())
    widget.caption = "a blue boat"
    widget.wait(60)
    until(lambda: not working())
