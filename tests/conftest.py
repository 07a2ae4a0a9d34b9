"""Settings of every test."""

import importlib
import os

import hypothesis
import pytest
from support.shapes import install_checks
from support.support_table import SupportTable

# The models are tiny: more threads would only wait for each other. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test reaches a network, and a model that would be downloaded fails at once instead.
os.environ["HF_HUB_OFFLINE"] = "1"

# A shared machine's pauses are not failures, and CI draws the same examples every time.
hypothesis.settings.register_profile("development", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "development")

LONGEST_ID = 200
"""Characters of a parameter that a test's name may contain."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-support", action="store_true", help="write the table in docs/models.md anew")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        # What is imported while the hook is there takes twice as long; this imports most of what is.
        importlib.import_module("open_clip")
    # Shapes and dtypes in signatures are checked at every call that a test makes.
    install_checks("exclip_widget")
    config.pluginmanager.register(SupportTable(config), "support table")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long values by their length: each report of a test carries its name, which xdist sends around."""
    if isinstance(val, (str, bytes)) and len(val) > LONGEST_ID:
        return f"{argname} of {len(val)}"
    return None


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tests that share something expensive in one worker's hands, and the long ones first.

    All end-to-end tests in JupyterLab share one server and one browser, and those without it a browser: two
    workers begin with them, which wait for servers and browsers, while the others do the rest; they are the
    last to run without workers. The tests of a family share its model, and what the oracle says of it. Those
    with Ray come after all others: its processes wait for each other some seconds only, and then give up.
    """
    with_workers = hasattr(config, "workerinput")
    for item in items:
        group = _group_of(item)
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: _order(item, with_workers))


def _group_of(item: pytest.Item) -> str | None:
    if item.get_closest_marker("e2e"):
        return "JupyterLab" if "lab" in getattr(item, "fixturenames", ()) else "browser"
    if "ray" in getattr(item, "fixturenames", ()):
        return "Ray"
    if item.path.name in ("test_families.py", "test_oracle.py"):
        return str(item.callspec.params.get("name")) if hasattr(item, "callspec") else None
    return None


def _order(item: pytest.Item, with_workers: bool) -> int:
    """Put the long groups first, then whatever takes long, so that no worker ends with it alone."""
    if item.get_closest_marker("e2e"):
        return 0 if with_workers else 3
    if _group_of(item) == "Ray":
        return 4
    if not with_workers:
        return 1
    return 1 if item.get_closest_marker("slow") or _group_of(item) else 2
