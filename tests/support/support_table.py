"""The table of models, methods and layers in docs/models.md, generated from the tests that passed.

With pytest's `record_property`, a test reports what it has compared with the definition (`VERIFIED`) or only
run (`RUN`): a family, a method and the two layers. A run of all these tests checks the table in the docs.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- generated: pytest --write-support -->\n", "<!-- end -->\n"
VERIFIED, RUN, FAMILY = "verified", "run", "family"
METHODS = ("exclip", "frozen", "similarity", "gradient", "banzhaf")

Claim = tuple[str, str, str, str]
"""Family, method, text layer, image layer."""


def family_row(
    place: int, of: int, name: str, image_layers: tuple[str, ...], text_layers: tuple[str, ...]
) -> str:
    """Return what a test reports about a family itself (`FAMILY`): its position among all, and its layers."""
    return "|".join((str(place), str(of), name, _spelled(image_layers), _spelled(text_layers)))


class SupportTable:
    """Pytest plugin that collects what passed, then checks or writes the table.

    With workers, only the controller sees every report; each worker tells it whether tests were deselected.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.write: bool = config.getoption("--write-support")
        self.worker_output: dict[str, object] | None = getattr(config, "workeroutput", None)
        self.claims: dict[str, set[Claim]] = defaultdict(set)
        self.families: dict[int, tuple[str, str, str]] = {}
        self.missing = True
        self.partial = False
        self.problem = ""

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.partial |= any(item.path.name == "test_families.py" for item in items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.partial |= getattr(node, "workeroutput", {}).get("support table is partial", True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        claims = [(kind, value) for kind, value in report.user_properties if kind in (VERIFIED, RUN, FAMILY)]
        if report.when != "call" or not claims:
            return
        self.partial |= report.failed
        for kind, value in claims if report.passed else ():
            if kind == FAMILY:
                place, of, *row = value.split("|")
                self.families[int(place)] = (row[0], row[1], row[2])
                self.missing = len(self.families) < int(of)
            else:
                self.claims[kind].add(tuple(value.split("|")))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.worker_output is not None:
            self.worker_output["support table is partial"] = self.partial
            return
        seen = {kind: {claim[:2] for claim in claims} for kind, claims in self.claims.items()}
        every = {(family, method) for family, *_ in self.families.values() for method in METHODS}
        few = {(family, method) for family, method in every if method != "banzhaf"}
        whole = seen.get(RUN, set()) >= every and seen.get(VERIFIED, set()) >= few
        if self.partial or self.missing or not whole:
            if self.write:
                self.problem = "not written: not every family's tests have run and passed"
            return
        before, _, rest = PAGE.read_text().partition(BEGIN)
        old, _, after = rest.partition(END)
        new = self._table()
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

    def _table(self) -> str:
        head = ("model", "image layers", "text layers", *METHODS)
        rows = [head, ("---",) * len(head)]
        for _, (family, *layers) in sorted(self.families.items()):
            cells = [self._cell(family, method) for method in METHODS]
            rows.append((family, *layers, *cells))
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def _cell(self, family: str, method: str) -> str:
        verified = {claim for claim in self.claims[VERIFIED] if claim[:2] == (family, method)}
        if not verified:
            return "runs"
        text, image = ({claim[side] for claim in verified} for side in (2, 3))
        return f"✓ {len(text)} × {len(image)}"


def _spelled(layers: tuple[str, ...]) -> str:
    """Abbreviate layer names by putting their differences in braces: `visual.layer{1,2,3,4}`."""
    if len(layers) == 1:
        return f"`{layers[0]}`"
    start = len(_shared(layers))
    end = len(_shared(tuple(layer[::-1] for layer in layers)))
    differ = [layer[start : len(layer) - end] for layer in layers]
    return f"`{layers[0][:start]}{{{','.join(differ)}}}{layers[0][len(layers[0]) - end :] if end else ''}`"


def _shared(names: tuple[str, ...]) -> str:
    first, last = min(names), max(names)
    return first[: next((at for at, pair in enumerate(zip(first, last)) if len(set(pair)) > 1), len(first))]  # noqa: B905
