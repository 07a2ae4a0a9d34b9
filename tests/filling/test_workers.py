"""A store filled by two actors of Ray Data, one of which is killed along the way."""

from __future__ import annotations

import gc
import io
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.killing import KillOnce
from support.widgets import book

import exclip_widget.filling
from exclip_widget import Explainer, MissingLibraryError, ParameterError, Store, demo, write_store
from exclip_widget.datasets import Fault, Pair
from exclip_widget.demo.captions import describe
from exclip_widget.demo.retrieval import held_out_scenes
from exclip_widget.filling import workers
from exclip_widget.filling.work import NewImage, Work
from exclip_widget.filling.workers import Worker
from exclip_widget.store import Head

TESTS = Path(__file__).parents[1]
REASON = "pip install 'exclip-widget[ray]'"


def explainer(**options: Any) -> Explainer:
    return Explainer(book().model, tokenizer=book().tokenizer, method="exclip", **options)


def pairs_in(folder: Path, count: int = 20) -> list[Pair]:
    """Return pairs with images in every accepted form, and two pairs that no model can take."""
    pairs = []
    for number, scene in enumerate(held_out_scenes(count)):
        image: Any = scene.draw(96)
        caption = describe(scene, random.Random(number), full=True).caption
        file = Path(f"{number}.png")
        image.save(folder / file)
        forms = [image, np.asarray(image), file, str(file), io.BytesIO((folder / file).read_bytes())]
        pairs.append(Pair(f"{number}", f"image {number}", forms[number % len(forms)], caption))
    foil = Pair("foil", "image 0", pairs[0].image, f"not {pairs[0].caption}", foil="a boat", source="s:1")
    gone = Pair("gone", "gone", folder / "gone.png", "a boat", source="s:2")
    long = Pair("long", "image 1", pairs[1].image, "boat " * 200, source="s:3")
    return [*pairs[:7], foil, gone, long, *pairs[7:]]


@pytest.fixture
def set_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Pair]:
    monkeypatch.chdir(tmp_path)  # relative paths refer to the caller's folder
    monkeypatch.setattr(exclip_widget.filling, "PAIRS_TOGETHER", 3)
    return pairs_in(tmp_path)


def ids_in_files(folder: Path) -> Counter[str]:
    parts = sorted(folder.rglob("part-*.parquet"))
    return Counter(key for part in parts for key in pq.read_table(part, columns=["id"])["id"].to_pylist())


# ----------------------------------------------------------------------------------------- without Ray


def test_ray_is_asked_for_by_its_extra(
    tmp_path: Path, set_of_pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingLibraryError, match=r"exclip-widget\[ray\]"):
        write_store(tmp_path / "store", explainer(), set_of_pairs, workers=2)
    with pytest.raises(ParameterError, match="workers=0"):
        write_store(tmp_path / "store", explainer(), set_of_pairs, workers=0)


def test_windows_are_bounded_by_works_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def works(*images: Any) -> list[Work]:
        return [Work([NewImage(str(n), image, "")], [], 1) for n, image in enumerate(images)]

    def lengths(given: list[Work]) -> list[int]:
        return [len(window) for window in workers._windows(iter(given))]

    monkeypatch.setattr(workers, "WINDOW_WORKS", 3)
    monkeypatch.setattr(workers, "WINDOW_BYTES", 1000)
    page = book().pages[0].image.resize((10, 20))  # 600 bytes
    assert lengths(works(*"abcdefgh")) == [3, 3, 2]
    assert lengths(works(page, page, page)) == [2, 1]
    assert lengths(works(np.zeros((20, 20, 3), np.uint8), "a", io.BytesIO(bytes(1000)))) == [1, 2]
    assert lengths([]) == []


def test_no_worker_begins_if_nothing_is_left(tmp_path: Path, set_of_pairs: list[Pair]) -> None:
    ray = pytest.importorskip("ray", reason=REASON)
    done = write_store(tmp_path / "store", explainer(), set_of_pairs[:4])
    again = write_store(tmp_path / "store", explainer(), set_of_pairs[:4], workers=2)
    assert again.pairs == done.pairs
    assert not ray.is_initialized()


class SlowNode:
    """A Ray node on a machine that is too busy to start its processes in time."""

    made: list[SlowNode]

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.made.append(self)
        raise Exception("The current node timed out during startup.")

    def kill_all_processes(self, *, check_alive: bool, wait: bool) -> None:
        assert not check_alive
        assert wait
        with self.process:
            self.process.kill()


@pytest.mark.parametrize("failures", [0, 1, workers.STARTS])
def test_ray_that_does_not_start_in_time_is_started_again(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason=REASON)
    SlowNode.made = []
    given: list[dict[str, Any]] = []

    def init(**options: Any) -> None:
        given.append(options)
        if len(given) <= failures:
            SlowNode()

    monkeypatch.setattr(ray, "init", init)
    if failures < workers.STARTS:
        workers.start_ray(num_cpus=2)
        assert len(given) == failures + 1
    else:
        with pytest.raises(ParameterError, match=r"Ray, which did not start in 3 attempts: .* timed out"):
            workers.start_ray(num_cpus=2)
        assert len(given) == failures
    assert all(one["num_cpus"] == 2 for one in given)
    # No process is left behind.
    assert [node.process.returncode for node in SlowNode.made] == [-signal.SIGKILL] * failures


def test_a_ray_elsewhere_that_is_not_there_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason=REASON)
    asked = []

    def init(**_: Any) -> None:
        asked.append(1)
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConnectionError):
        workers.start_ray()
    assert len(asked) == 1


# -------------------------------------------------------------------------------------------- with Ray


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Start Ray with two cores and little memory, and workers that can import the tests' modules."""
    ray = pytest.importorskip("ray", reason=REASON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{TESTS.parent}:{TESTS}")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_prestart_worker_first_driver", "0")  # don't wait for a worker
        patch.setenv("RAY_agent_register_timeout_ms", "120000")  # for a busy machine
        started: list[subprocess.Popen[bytes]] = []
        try:
            workers.start_ray(num_cpus=2, num_gpus=0, object_store_memory=100 * 2**20)
            node = ray._private.worker._global_node
            started += [one.process for several in node.all_processes.values() for one in several]
            yield ray
        finally:
            ray.shutdown()
            for process in started:  # Ray does not wait for the processes that it kills
                process.wait(60)
            gc.collect()  # so that warnings about what Ray leaves open appear here, not in other tests


pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # for what Ray leaves open
]


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_worker_that_is_killed_leaves_each_pair_once(tmp_path: Path, set_of_pairs: list[Pair]) -> None:
    folder, faults, alone = tmp_path / "store", list[Fault](), list[Fault]()
    write_store(folder, explainer(), set_of_pairs[:4])  # one process begins the store
    begun = ids_in_files(folder)
    killing = KillOnce(tmp_path, after=4)
    store = write_store(
        folder, explainer(preprocess=killing), set_of_pairs, workers=2, on_error=faults.append
    )
    assert len(killing.killed) == 1
    assert len(killing.ran) == 3  # two workers and one replacement
    expected = write_store(tmp_path / "alone", explainer(), set_of_pairs, on_error=alone.append)
    assert faults == alone
    assert [fault.source for fault in faults] == ["s:2", "s:3"]
    assert (store.pairs, store.images, store.captions) == (expected.pairs, expected.images, expected.captions)
    assert len(store.images) == 20
    assert len(store.captions) == 22 + 1
    assert set(ids_in_files(folder).values()) == {1}
    assert begun.keys() < ids_in_files(folder).keys()
    for ours, theirs in zip(factors_in(store), factors_in(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())


def factors_in(store: Store) -> Iterator[np.ndarray]:
    yield from (store.image_factors(key).values for key in store.images)
    yield from (store.text_factors(key).values for key in store.captions)


def test_workers_that_cannot_be_had(tmp_path: Path, set_of_pairs: list[Pair], ray: Any) -> None:
    with pytest.raises(ParameterError, match="workers=3, but Ray has 2 cores"):
        write_store(tmp_path / "store", explainer(), set_of_pairs, workers=3)
    with pytest.raises(ParameterError, match="preprocess cannot be sent to another process"):
        write_store(tmp_path / "store", explainer(preprocess=lambda x: x), set_of_pairs, workers=2)
    assert ray.is_initialized()  # only whoever started Ray stops it


def test_a_worker_compares_its_recipe(ray: Any) -> None:
    """The worker's code runs in this process."""
    changed = demo.load()
    changed.model.visual.ln_post.weight.data[0] += 1e-3
    other = Explainer(changed.model, tokenizer=changed.tokenizer, method="exclip")
    head, work = Head(explainer().recipe()), Work([NewImage("0", book().pages[0].image, "")], [], 1)
    (error,) = Worker(ray.put((other, head)))({"work": [work]})["done"]
    assert isinstance(error, ParameterError)
    assert "the store was made with weights=" in str(error)
    (done,) = Worker(ray.put((explainer(), head)))({"work": [work]})["done"]
    assert [image.id for image, _ in done.images] == ["0"]  # type: ignore[union-attr]


def test_an_explainer_that_cannot_be_read_there_is_named(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = ray.put((explainer(preprocess=KillOnce(Path(), after=10**6)), Head(explainer().recipe())))
    monkeypatch.setitem(sys.modules, "support.killing", None)
    (error,) = Worker(shared)({"work": [Work([], [], 0)]})["done"]
    assert isinstance(error, ParameterError)
    assert "support.killing" in str(error)
    assert "every worker can import" in str(error)
