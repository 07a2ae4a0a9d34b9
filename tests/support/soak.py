"""Soak: one widget in a real JupyterLab gets request after request while everything around it fails.

    scripts/soak                                        # 1000 captions, 300 images, 200 layers: hours
    scripts/soak --captions 60 --images 20 --layers 15  # minutes

Each step makes one request on the page. Some steps meet a fault: the kernel is killed, the connection is
cut, or the page is reloaded. Once a step has settled, page and kernel must both show the last request exactly
once, and the similarity must be the model's own. The memory of both is recorded. A seed determines the run.
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import Error, expect, sync_playwright

from support.browser import CURRENT, READY_MS, Notebook, Wire, launch_chromium
from support.instrument import DONE_MS
from support.servers import LabServer, write_notebook

SETUP = """
import hashlib, json, os, threading
import torch
from IPython.display import display
from exclip_widget import ExplainWidget, demo

book = demo.load()
page = book.pages[0]
widget = ExplainWidget(book.model, page.image, page.caption, tokenizer=book.tokenizer)
display(widget)

def own_similarity():
    with torch.no_grad():
        image = book.model.encode_image(book.preprocess(widget.image)[None])
        text = book.model.encode_text(book.tokenizer([widget.caption]))
    return torch.cosine_similarity(image.double(), text.double()).item()

def facts():
    with widget.lock:  # the worker may begin another request at any time
        return json.dumps(facts_of_now())

def facts_of_now():
    found = {
        "id": widget._request["id"], "phase": widget._request["phase"],
        "caption": widget.caption, "image_layer": widget.image_layer,
        "image": hashlib.sha256(widget.image.tobytes()).hexdigest(),
    }
    if found["phase"] == "done":
        result = widget.interactions
        found |= {
            "shown_image": hashlib.sha256(widget._image).hexdigest(),
            "explained": [result.caption, result.image_layer],
            "layer_name": widget._choices["image_layers"][widget.image_layer],
            "similarity": result.similarity, "own_similarity": own_similarity(),
            "sums": result.values.sum((1, 2), float).tolist(),
            "threads": sum(thread.name == "exclip-widget" for thread in threading.enumerate()),
        }
    return found
"""

# What the page shows. The image's bytes are read only once everything else has settled.
SEEN = """async () => {
    const roots = [...document.querySelectorAll("[data-testid=exclip]")];
    const [root] = roots;
    if (!root) return { views: 0 };
    const one = (name) => root.querySelector(`[data-testid="exclip-${name}"]`);
    const said = ["notice", "error", "offline", "refused-caption", "refused-image"]
        .map(one).filter((node) => node && !node.hidden && node.textContent);
    const seen = {
        views: roots.length,
        phase: root.dataset.phase,
        stale: root.classList.contains("exclip-stale"),
        editing: Boolean(one("field-caption")?.checkVisibility()),
        said: said.map((node) => node.textContent),
        words: [...root.querySelectorAll("[data-testid=exclip-word]")]
            .map((node) => [node.textContent, node.dataset.tokens, Number(node.dataset.value)]),
        similarity: Number(root.querySelector('[data-figure="similarity"]')?.dataset.value),
        layer: Number(one("image_layer")?.value),
    };
    const { src } = root.querySelector(".exclip-frame img");
    if (seen.phase === "done" && !seen.stale && src) {
        const bytes = await (await fetch(src)).arrayBuffer();
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
        seen.image = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    }
    return seen;
}"""

SETTLED_S = 120
"""Upper bound for a step to settle, including the timeout after which a silent kernel is asked again."""

MOST_GROWTH = 1.1
"""Largest ratio of a kernel's or page's memory at the end of its longest life to that in the middle."""

MOST_WRONG = 5
"""Number of failed steps after which a run gives up."""

MEMORY_STEPS = 50
"""Steps between the two needed for the ratio to count: allocators and caches take a while to settle."""

MEMORY_EVERY = 5
"""Steps between memory measurements, each of which collects the page's garbage."""

COLOURS = "red orange yellow green blue purple pink white black".split()
THINGS = "boat fish house sun snail mushroom umbrella tree car bird cup star".split()
PLACES = ["left of", "right of", "above", "below", "and"]
IMAGES = 12
LAYERS = 6

# Messages that the browser logs for cut connections, and Lab for a killed kernel.
OF_FAULTS = re.compile(
    r"WebSocket|Failed to load resource|NetworkError|Failed to fetch|[Kk]ernel|Canceled future"
)


@dataclass(frozen=True)
class Plan:
    """Number of steps of each kind, and the share of them that meets each kind of fault."""

    captions: int = 1000
    images: int = 300
    layers: int = 200
    cuts: float = 0.03
    reloads: float = 0.02
    kills: float = 0.01

    def steps(self, chance: random.Random) -> list[tuple[str, str | None]]:
        """Return the request of each step and the fault that it meets, if any."""
        asked = ["caption"] * self.captions + ["image"] * self.images + ["layer"] * self.layers
        shares = {"cut": self.cuts, "reload": self.reloads, "kill": self.kills}
        faults: list[str | None] = [
            fault for fault, share in shares.items() for _ in range(round(share * len(asked)))
        ]
        faults += [None] * (len(asked) - len(faults))
        chance.shuffle(asked)
        chance.shuffle(faults)
        return list(zip(asked, faults, strict=True))


@dataclass
class Memory:
    """Memory of a process or page after each step, in bytes. A kill or a reload ends one life of it."""

    lives: list[list[tuple[int, float]]] = field(default_factory=lambda: [[]])

    def note(self, step: int, used: float) -> None:
        self.lives[-1].append((step, used))

    def begin_life(self) -> None:
        self.lives.append([])

    def growth(self) -> dict[str, float] | None:
        """Return MB in the middle and at the end of the longest life, and the steps between them.

        The first third does not count, because caches are still filling.
        """
        life = max(self.lives, key=len)
        third = len(life) // 3
        if third == 0:
            return None
        middle, end = life[third : 2 * third], life[-third:]
        (mb, later), steps = (
            [statistics.median(used for _, used in part) / 1e6 for part in (middle, end)],
            statistics.median(step for step, _ in end) - statistics.median(step for step, _ in middle),
        )
        return {"MB": round(mb, 1), "MB later": round(later, 1), "steps between": steps}


class Soak:
    """A soak run on one notebook, whose only cell is `SETUP`.

    Parameters
    ----------
    notebook
        An open notebook that has not run anything yet.
    wire
        The connections between its page and its kernel.
    folder
        Folder for the images to upload.
    seed
        Determines the requests, and which steps meet a fault.
    """

    def __init__(self, notebook: Notebook, wire: Wire, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.settle_s: list[float] = []
        self.kernel_memory, self.page_memory = Memory(), Memory()
        self._notebook, self._page, self._wire = notebook, notebook.page, wire
        self._devtools = self._page.context.new_cdp_session(self._page)
        self._images = dict(_draw_images(folder, self.chance))
        self._root = self._page.get_by_test_id("exclip")
        self._captions: list[str] = []
        self._expected: dict[str, Any] = {}
        self._id, self._asked, self._pid = 0, 0, 0
        self._run_cells()

    def run(self, plan: Plan, log: Callable[[str], None] = lambda _: None) -> None:
        """Run all steps of a plan, continuing after one that fails.

        Raises
        ------
        AssertionError
            If any step failed or memory has grown: raised at the end, or after `MOST_WRONG` failed steps.
        """
        ask = {"caption": self._ask_for_caption, "image": self._ask_for_image, "layer": self._scrub_layer}
        meet = {"cut": self._cut, "reload": self._reload, "kill": self._kill}
        steps = plan.steps(self.chance)
        wrong: list[str] = []
        for step, (what, fault) in enumerate(steps):
            start = time.monotonic()
            try:
                if fault is None:
                    ask[what]()
                else:
                    with self._errors_of_faults_expected():
                        meet[fault](ask[what])
                self._check()
            except (AssertionError, Error) as error:
                wrong.append(f"step {step}, {what}, {fault or 'no fault'}: {error}")
                log(wrong[-1])
                if len(wrong) == MOST_WRONG:
                    break
                self._begin_again()
                continue
            self.done.update([what, *([fault] if fault else [])])
            if fault is None:
                self.settle_s.append(time.monotonic() - start)
            if step % MEMORY_EVERY == 0:
                self._note_memory(step)
            if step % 10 == 9 or step + 1 == len(steps):
                log(json.dumps({"step": step + 1, "of": len(steps)} | self.report()))

        for whose, memory in (("kernel", self.kernel_memory), ("page", self.page_memory)):
            found = memory.growth()
            if found is None or found["steps between"] < MEMORY_STEPS:
                continue
            if found["MB later"] > MOST_GROWTH * found["MB"]:
                wrong.append(f"the {whose} grows: {found}")
        if wrong:
            raise AssertionError("\n".join(wrong))

    def report(self) -> dict[str, Any]:
        """Return the number of steps done and the memory they took."""
        return {
            "done": dict(self.done),
            "median s": round(statistics.median(self.settle_s), 2) if self.settle_s else None,
            "kernel": self.kernel_memory.growth(),
            "page": self.page_memory.growth(),
        }

    # ------------------------------------------------------------------------------------------- asking

    def _ask_for_caption(self) -> None:
        """Edit the caption one to three times in a row, sometimes to one that was used before."""
        captions = [self._caption() for _ in range(self.chance.choice((1, 1, 1, 2, 3)))]
        # The last caption must be new; otherwise its result would look the same as one already shown.
        while captions[-1] in (self._expected["caption"], *captions[:-1]):
            captions[-1] = self._caption()
        self._root.get_by_test_id("exclip-word").first.focus()
        self._page.keyboard.press("F2")
        # In one call: between two calls, an answer may close the field.
        self._root.get_by_test_id("exclip-field-caption").evaluate(
            """(field, captions) => {
                for (const caption of captions) {
                    field.value = caption;
                    field.dispatchEvent(new InputEvent("input", { bubbles: true }));
                    field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
                }
            }""",
            captions,
        )
        self._captions += captions
        self._expected["caption"] = captions[-1]
        self._asked += len(captions)

    def _caption(self) -> str:
        if self._captions and self.chance.random() < 0.2:
            return self.chance.choice(self._captions[-20:])
        one, two = (f"{self.chance.choice(COLOURS)} {self.chance.choice(THINGS)}" for _ in range(2))
        return f"a {one} {self.chance.choice(PLACES)} {self.chance.randint(2, 9)} {two}"

    def _ask_for_image(self) -> None:
        # Not the current image: its result would look the same as the previous one.
        others = [path for path, pixels in self._images.items() if pixels != self._expected["image"]]
        path = self.chance.choice(others)
        self._root.get_by_test_id("exclip-file").set_input_files(path)
        self._expected["image"] = self._images[path]
        self._asked += 1

    def _scrub_layer(self) -> None:
        """Press arrow keys on the slider, each of which is a request."""
        slider = self._root.get_by_test_id("exclip-image_layer")
        slider.focus()
        before, presses = self._expected["image_layer"], self.chance.randint(1, 4)
        # Don't end on the current layer: its result would look the same as the previous one.
        while presses > 0 or self._expected["image_layer"] == before:
            at = self._expected["image_layer"]
            step = self.chance.choice([by for by in (-1, 1) if 0 <= at + by < LAYERS])
            self._page.keyboard.press("ArrowRight" if step > 0 else "ArrowLeft")
            self._expected["image_layer"] = at + step
            self._asked += 1
            presses -= 1

    # ------------------------------------------------------------------------------------------- faults

    def _cut(self, ask: Callable[[], None]) -> None:
        """Cut the connection before or after a request, and mend it."""
        if self.chance.random() < 0.5:
            self._wire.cut()
            ask()
        else:
            ask()
            self._wire.cut()
        self._wire.mend()

    def _reload(self, ask: Callable[[], None]) -> None:
        """Reload the page while a request is being computed."""
        ask()
        self._wait_until_accepted()
        self._notebook.save()
        self._page.reload(timeout=READY_MS)
        self._notebook.wait_until_idle()
        self._root.wait_for(timeout=DONE_MS)
        self.page_memory.begin_life()

    def _kill(self, ask: Callable[[], None]) -> None:
        """Kill the kernel while it computes. The page must keep what it shows; then the cell is run again."""
        ask()
        self._page.evaluate(
            f"""() => {{
                {CURRENT}
                window.statuses = [];
                const {{ sessionContext }} = panel.context;
                sessionContext.statusChanged.connect((_, now) => window.statuses.push(now));
            }}"""
        )
        os.kill(self._pid, signal.SIGKILL)
        self._page.wait_for_function(
            "() => window.statuses.some((one) => one.endsWith('restarting'))", timeout=READY_MS
        )
        self._page.get_by_role("dialog").get_by_role("button", name="Ok").click()
        self._notebook.wait_until_idle()
        # The field of the last caption stays open until the request is answered.
        seen = self._page.evaluate(SEEN)
        assert seen["words"] or seen["editing"], "the page lost the caption when the kernel died"
        if not abs(seen["similarity"]) <= 1:
            # Only a newer request, which has no values yet, may have replaced the last result.
            asked = {
                caption.replace(" ", "") for caption in (self._expected["caption"], *self._captions[-3:])
            }
            words = "".join(text for text, _, _ in seen["words"])
            assert seen["phase"] == "computing", f"the page lost the result when the kernel died: {seen}"
            # The open field of a later caption hides the words.
            assert seen["editing"] or words in asked, f"the page lost the result, and shows {words!r}"
        self._run_cells()

    @contextmanager
    def _errors_of_faults_expected(self) -> Iterator[None]:
        """Ignore what the console logs about the fault itself; anything else remains an error."""
        self._notebook.check_console()
        yield
        self._notebook.errors = [said for said in self._notebook.errors if not OF_FAULTS.search(said)]

    # ------------------------------------------------------------------------------------------- checks

    def _run_cells(self) -> None:
        self._notebook.run_all()
        self._notebook.wait_until_run(DONE_MS)
        expect(self._root).to_have_attribute("data-phase", "done", timeout=DONE_MS)
        self._pid = int(self._notebook.value("os.getpid()"))
        self._notebook.value("widget.wait(300).nodes")
        facts = self._facts()
        self._expected = {name: facts[name] for name in ("caption", "image", "image_layer")}
        self._id, self._asked = facts["id"], 0
        self._notebook.save()
        self.kernel_memory.begin_life()

    def _begin_again(self) -> None:
        """Run the cell again, whatever went wrong."""
        self._notebook.wait_until_idle()
        self._notebook.errors.clear()
        self._run_cells()

    def _facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._notebook.execute("print(facts())"))
        return found

    def _wait_until_accepted(self) -> None:
        end = time.monotonic() + SETTLED_S
        while wrong := self._not_as_expected(self._facts()):
            assert time.monotonic() < end, f"the kernel has not accepted {wrong}"
            self._page.wait_for_timeout(20)

    def _not_as_expected(self, facts: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in self._expected.items() if facts[name] != value}

    def _check(self) -> None:
        """Wait until page and kernel agree on the last request, and check that they still do afterwards."""
        self._page.mouse.move(0, 0)
        end = time.monotonic() + SETTLED_S
        while True:
            seen = self._page.evaluate(SEEN)
            if _rests(seen):
                facts = self._facts()
                faults = self._faults(seen, facts)
                if not faults:
                    break
            else:  # the kernel is computing, and a question would hold it up
                faults = [f"the page shows {seen}"]
            assert time.monotonic() < end, f"after {SETTLED_S} s: {'; '.join(faults)}"
            self._page.wait_for_timeout(30)
        accepted = facts["id"] - self._id
        assert accepted <= self._asked, f"{self._asked} requests were made, but {accepted} were computed"
        if self.chance.random() < 0.2:
            self._page.wait_for_timeout(300)
            again = self._facts()
            late = self._faults(self._page.evaluate(SEEN), again)
            assert not late, f"correct at first, but then: {'; '.join(late)}"
            assert again["id"] == facts["id"], "more was computed than requested"
        self._id, self._asked = facts["id"], 0
        self._notebook.check_console()

    def _faults(self, seen: dict[str, Any], facts: dict[str, Any]) -> list[str]:
        """Return the differences between the last request, the kernel's state and what the page shows."""
        faults = [
            f"{name} in the kernel is {facts[name]!r}, asked was {value!r}"
            for name, value in self._not_as_expected(facts).items()
        ]
        if facts["phase"] != "done" or seen["views"] != 1 or seen["phase"] != "done":
            return [*faults, f"{seen['views']} views, page {seen.get('phase')}, kernel {facts['phase']}"]

        def compare(what: str, found: object, expected: object) -> None:
            if found != expected:
                faults.append(f"{what} is {found!r}, not {expected!r}")

        def close(what: str, found: float, expected: float, by: float) -> None:
            if not abs(found - expected) <= by:
                faults.append(f"{what} is {found}, not {expected}")

        compare(
            "the explained caption and layer", facts["explained"], [facts["caption"], facts["layer_name"]]
        )
        close("the similarity", facts["similarity"], facts["own_similarity"], 1e-5)
        compare("threads that still work", facts["threads"], 0)
        compare("stale", seen["stale"], False)
        compare("an open field", seen["editing"], False)
        compare("what is said", seen["said"], [])
        compare(
            "the caption", "".join(text for text, _, _ in seen["words"]), facts["caption"].replace(" ", "")
        )
        compare("the layer", seen["layer"], facts["image_layer"])
        compare("the image", seen.get("image"), facts["shown_image"])
        close("the printed similarity", seen["similarity"], facts["similarity"], 1e-9)
        if not faults:
            for text, rows, value in seen["words"]:
                expected = sum(facts["sums"][int(row)] for row in rows.split(","))
                close(f"the value of {text!r}", value, expected, 2e-6)
        return faults

    def _note_memory(self, step: int) -> None:
        status = Path(f"/proc/{self._pid}/status")
        if status.exists():  # on Linux
            found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
            assert found
            self.kernel_memory.note(step, 1024 * int(found[1]))
        self._devtools.send("HeapProfiler.collectGarbage")
        self.page_memory.note(step, self._devtools.send("Runtime.getHeapUsage")["usedSize"])


def _rests(seen: dict[str, Any]) -> bool:
    """Return whether a page has settled: it shows one widget, with a finished result."""
    return seen["views"] == 1 and seen["phase"] == "done" and not seen["stale"] and not seen["editing"]


def _draw_images(folder: Path, chance: random.Random) -> Iterator[tuple[Path, str]]:
    """Draw images of several shapes, in two formats. Yield their paths and the hashes of their pixels."""
    for number in range(IMAGES):
        size = (chance.randint(120, 480), chance.randint(120, 480))
        image = Image.new("RGB", size, chance.choice(COLOURS))
        draw = ImageDraw.Draw(image)
        for _ in range(4):
            x, y = chance.randrange(size[0]), chance.randrange(size[1])
            draw.ellipse((x, y, x + 80, y + 60), fill=chance.choice(COLOURS))
        path = folder / f"{number}.{'png' if number % 2 else 'jpg'}"
        image.save(path)
        with Image.open(path) as written:
            yield path, sha256(written.tobytes()).hexdigest()


@contextmanager
def soaked_notebook(seed: int) -> Iterator[Soak]:
    """Start a JupyterLab and a browser, open the notebook, and run its cell."""
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        browser = launch_chromium(playwright)
        with LabServer(folder / "lab") as lab:
            write_notebook(lab.notebooks / "soak.ipynb", SETUP)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(READY_MS)
            wire = Wire(page)
            notebook = Notebook(page, lab.url("soak.ipynb"))
            notebook.close_side_bar()
            yield Soak(notebook, wire, folder, seed)
            notebook.shut_down()
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    plan = Plan()
    for name in ("captions", "images", "layers"):
        parser.add_argument(f"--{name}", type=int, default=getattr(plan, name), metavar="N")
    for name in ("cuts", "reloads", "kills"):
        parser.add_argument(f"--{name}", type=float, default=getattr(plan, name), metavar="SHARE")
    parser.add_argument("--seed", type=int, default=0)
    chosen = vars(parser.parse_args())
    with soaked_notebook(chosen.pop("seed")) as soak:
        soak.run(Plan(**chosen), lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
