"""Settings of every test."""

import os

import hypothesis
import pytest
from support.support_table import SupportTable

# The models are tiny: more threads would only wait for each other. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test reaches a network, and a model that would be downloaded fails at once instead.
os.environ["HF_HUB_OFFLINE"] = "1"

# A shared machine's pauses are not failures, and CI draws the same examples every time.
hypothesis.settings.register_profile("development", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "development")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-support", action="store_true", help="write the table in docs/models.md anew")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SupportTable(config), "support table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the slow end-to-end tests last: whatever else fails is told first."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)
