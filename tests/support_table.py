"""The table of models, methods and layers in docs/models.md, made of the tests that passed.

A test says by pytest's `record_property` what it has held to its definition (`VERIFIED`) or seen run:
a family, a method and the two layers. A run of all of them holds the table in the docs to what has passed.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
BEGIN, END = "<!-- generated: pytest --write-support -->\n", "<!-- end -->\n"

VERIFIED, RUN = "verified", "run"
METHODS = ("exclip", "similarity", "gradient", "banzhaf")

Claim = tuple[str, str, str, str]
"""Family, method, text layer, image layer."""


class SupportTable:
    """Collects what passed, and compares or writes the table once everything has run."""

    def __init__(self, config: pytest.Config) -> None:
        self.write: bool = config.getoption("--write-support")
        self.claims: dict[str, set[Claim]] = defaultdict(set)
        self.partial = False
        self.problem = ""

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.partial |= any(item.path.name == "test_families.py" for item in items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        claims = [(kind, value) for kind, value in report.user_properties if kind in (VERIFIED, RUN)]
        if report.when == "call" and claims:
            self.partial |= report.failed
            for kind, value in claims if report.passed else ():
                self.claims[kind].add(tuple(value.split("|")))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        from families import FAMILIES

        seen = {kind: {claim[:2] for claim in claims} for kind, claims in self.claims.items()}
        every = {(family, method) for family in FAMILIES for method in METHODS}
        few = {(family, method) for family, method in every if method != "banzhaf"}
        if self.partial or not (seen.get(RUN, set()) >= every and seen.get(VERIFIED, set()) >= few):
            if self.write:
                self.problem = "not written: not every family's tests have run and passed"
            return
        before, _, rest = PAGE.read_text().partition(BEGIN)
        old, _, after = rest.partition(END)
        new = self._table(list(FAMILIES))
        if self.write:
            PAGE.write_text(before + BEGIN + new + END + after)
        elif new != old:
            self.problem = (
                f"{PAGE.name} says otherwise; make it anew: pytest tests/test_families.py --write-support"
            )
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.problem:
            terminalreporter.section("table of supported models", sep="=", red=True)
            terminalreporter.line(self.problem)

    def _table(self, families: list[str]) -> str:
        head = ("model", "image layers", "text layers", *METHODS)
        rows = [head, ("---",) * len(head)]
        for family in families:
            layers = self._layers(family)
            cells = [self._cell(family, method) for method in METHODS]
            rows.append((family, *layers, *cells))
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def _layers(self, family: str) -> tuple[str, str]:
        from families import FAMILIES

        this = FAMILIES[family]()
        return _spelled(this.image_layers), _spelled(this.text_layers)

    def _cell(self, family: str, method: str) -> str:
        verified = {claim for claim in self.claims[VERIFIED] if claim[:2] == (family, method)}
        if not verified:
            return "runs"
        text, image = ({claim[side] for claim in verified} for side in (2, 3))
        return f"✓ {len(text)} × {len(image)}"


def _spelled(layers: tuple[str, ...]) -> str:
    """Names of layers, with what differs in braces: `visual.layer{1,2,3,4}`."""
    if len(layers) == 1:
        return f"`{layers[0]}`"
    start = len(_shared(layers))
    end = len(_shared(tuple(layer[::-1] for layer in layers)))
    differ = [layer[start : len(layer) - end] for layer in layers]
    return f"`{layers[0][:start]}{{{','.join(differ)}}}{layers[0][len(layers[0]) - end :] if end else ''}`"


def _shared(names: tuple[str, ...]) -> str:
    first, last = min(names), max(names)
    return first[: next((at for at, pair in enumerate(zip(first, last)) if len(set(pair)) > 1), len(first))]  # noqa: B905
