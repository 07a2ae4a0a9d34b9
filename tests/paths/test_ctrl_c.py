"""Ctrl-C at any line of what gives a model hooks and modes, and takes them back, leaves nothing behind."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import pytest
import torch
from support.snapshots import unchanged
from support.zoo.inputs import picture
from support.zoo.models import build, inputs_of

from exclip_widget import Explainer
from exclip_widget.paths import cut, evaluation_mode, onednn
from exclip_widget.paths.interruption import between_passes, end_if_unwanted

FUNCTIONS = (cut._hooked, evaluation_mode.evaluation_mode, evaluation_mode._forced, onednn.fast_products)


@pytest.fixture(autouse=True)
def _own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def code_of(function: Any) -> CodeType:
    return function.__wrapped__.__code__


def run_with(at_line: Callable[[int], None], code: CodeType, work: Callable[[], object]) -> None:
    """Run `work`, calling a function with the number of each line of some code before it is run."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code is not code:
            return None
        if event == "line":
            at_line(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("method", ["exclip", "frozen"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_ctrl_c_at_every_line(function: Any, method: str) -> None:
    model, code = build("plain").train(), code_of(function)
    explainer = Explainer(model, **inputs_of(model), method=method)
    image, is_enabled = picture(), torch.is_grad_enabled()
    expected = explainer.explain(image, "a red boat").similarity
    reached: list[int] = []
    run_with(reached.append, code, lambda: explainer.explain(image, "a boat"))
    for line in dict.fromkeys(reached):
        left = [1]

        def interrupt(number: int, line: int = line, left: list[int] = left) -> None:
            if number == line and left[0]:
                left[0] = 0
                signal.raise_signal(signal.SIGINT)

        with unchanged(model), pytest.raises(KeyboardInterrupt):
            run_with(interrupt, code, lambda: explainer.explain(image, "a boat"))
        assert torch.is_grad_enabled() == is_enabled
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert explainer.explain(image, "a red boat").similarity == pytest.approx(expected)


def test_a_second_ctrl_c_is_not_put_off() -> None:
    reached = []

    def work() -> None:
        with between_passes():
            for number in range(3):
                signal.raise_signal(signal.SIGINT)
                reached.append(number)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == [0]


def test_ctrl_c_ends_a_computation_before_its_next_pass() -> None:
    with between_passes():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            end_if_unwanted()
    end_if_unwanted()
