"""Measure the cost of explaining a data set, compared with embedding it, and of questions about a store.

    python benchmarks/sets.py [--model ViT-B-32] [--images 32] [--stored 500 1000 2000]
    python benchmarks/sets.py --workers 2 [--model ViT-B-32] [--images 256] [--exclip 1]

Everything is timed in one process, in turns, as medians; only the ratios count. Weights and factors are
random, because the cost does not depend on them. With --workers, one process and that many Ray Data workers
explain the same pairs, compared with plain embedding. With --exclip, exclip 1.1 also explains the first ones.
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from engine import STEPS, medians
from PIL import Image

from exclip_widget import Explainer, Factors, Store
from exclip_widget.datasets import Pair
from exclip_widget.filling.work import Done, Work, explain_work, plan
from exclip_widget.filling.workers import explain_by_workers
from exclip_widget.results import Grid, Tokens
from exclip_widget.store import Head, StoreWriter
from exclip_widget.widget.ranking import Query, StoreImages

CAPTION = "two dogs chase a yellow ball on a beach"
WORDS = "in the morning light of a long summer day".split()
BATCH = 32
EMBED, ROWS, COLUMNS = 512, 14, 14
"""Embedding size and patch grid of a ViT-B-16."""


def explaining(name: str, count: int, runs: int) -> None:
    """Measure factors of images and captions, compared with their embeddings, both in batches."""
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None).eval()
    tokenizer = open_clip.get_tokenizer(name)
    size = model.visual.image_size[0]
    pixels = torch.randn(count, 3, size, size)
    captions = [f"{CAPTION} {' '.join(WORDS[: number % 8])}" for number in range(count)]
    explainer = Explainer(model, method="exclip")
    turn = [0]

    def fresh() -> list[torch.Tensor]:
        """Return images for which nothing is cached."""
        turn[0] += 1
        return list(pixels + 1e-4 * turn[0])

    @torch.inference_mode()
    def embed_images() -> None:
        for some in pixels.split(BATCH):
            model.encode_image(some)

    @torch.inference_mode()
    def embed_captions() -> None:
        for first in range(0, count, BATCH):
            model.encode_text(tokenizer(captions[first : first + BATCH]))

    seconds = medians(
        runs,
        {
            "embed images": embed_images,
            "explain images": lambda: explainer.image_factors(fresh()),
            "the same one by one": lambda: [explainer.image_factors(one) for one in fresh()],
            "embed captions": embed_captions,
            "explain captions": lambda: explainer.text_factors(captions),
            "captions one by one": lambda: [explainer.text_factors(one) for one in captions],
        },
    )
    print(f"\n{name}, {count} images and {count} captions, {torch.get_num_threads()} threads\n")
    print("| | ms each | throughput relative to embedding |\n|---|---|---|")
    for label, value in seconds.items():
        plain = seconds["embed captions" if "captions" in label else "embed images"]
        print(f"| {label} | {1e3 * value / count:.1f} | {plain / value:.2f} |")
    plain = seconds["embed images"] + seconds["embed captions"]
    both = seconds["explain images"] + seconds["explain captions"]
    print(f"| **both sides** | {1e3 * both / count:.1f} | **{plain / both:.2f}** |")


def by_workers(name: str, count: int, workers: int, of_exclip: int) -> None:
    """Measure the throughput of one process, of workers, and of exclip 1.1, all reading image files.

    Workers are timed from the first piece of work that comes back. Their start-up time is printed separately,
    because it does not grow with the set.
    """
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=None)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    explainer = Explainer(model, method="exclip")
    with tempfile.TemporaryDirectory() as folder:
        pairs = _pairs_in(Path(folder), count)
        with StoreWriter(Path(folder) / "store", Head(explainer.recipe())) as writer:
            works = list(plan(writer, pairs, BATCH // 2))
        head = writer.head

        @torch.inference_mode()
        def embed(work: Work) -> None:
            pixels = [preprocess(Image.open(one.input).convert("RGB")) for one in work.images]
            model.encode_image(torch.stack(pixels))
            model.encode_text(tokenizer([one.input for one in work.captions]))

        embed(works[0])
        explain_work(explainer, works[0])
        embedding = alone = 0.0
        for work in works:  # in turns
            start = time.perf_counter()
            embed(work)
            between = time.perf_counter()
            explain_work(explainer, work)
            embedding += between - start
            alone += time.perf_counter() - between
        start = time.perf_counter()
        found = explain_by_workers(explainer, head, works, workers)
        first: Done = next(found)
        begun = time.perf_counter()
        rest = sum(done.pairs for done in found)
        together = (time.perf_counter() - begun) / rest * count
        assert first.pairs + rest == count
        print(f"\n{name}, {count} pairs from files, {torch.get_num_threads()} threads\n")
        print("| | ms per pair | throughput relative to embedding |\n|---|---|---|")
        rows = {"plain embedding": embedding, "one process": alone, f"{workers} workers": together}
        if of_exclip:
            rows["exclip 1.1"] = _exclip(name, pairs[:of_exclip]) / of_exclip * count
        for label, seconds in rows.items():
            print(f"| {label} | {1e3 * seconds / count:.1f} | {embedding / seconds:.2g} |")
        print(f"\nworkers took {begun - start:.0f} s to produce their first pairs; each explains on one core")


def _pairs_in(folder: Path, count: int) -> list[Pair]:
    generator = np.random.default_rng(0)
    pairs = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        Image.fromarray(generator.integers(0, 256, (240, 320, 3), np.uint8)).save(path)
        pairs.append(Pair(str(number), str(number), path, f"{CAPTION} {' '.join(WORDS[: number % 8])}"))
    return pairs


def _exclip(name: str, pairs: list[Pair]) -> float:
    """Return the seconds that exclip 1.1 takes for pairs: most of a minute and gigabytes of memory each."""
    from exclip import OpenClipExplainer

    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=None)
    tokenizer = open_clip.get_tokenizer(name)
    theirs: Any = OpenClipExplainer(model.eval(), device="cpu", image_dim=model.visual.image_size[0])
    start = time.perf_counter()
    for pair in pairs:
        pixels = preprocess(Image.open(pair.image).convert("RGB"))[None]
        theirs.explain(tokenizer(pair.caption), pixels, 11, 11, STEPS)
    return time.perf_counter() - start


def asking(count: int, runs: int) -> None:
    """Measure searching a store of random factors for a phrase, compared with a matrix product in memory."""
    generator = np.random.default_rng(0)
    recipe = {"model": "none", "weights": "none", "method": "exclip", "package": "none"}
    head = Head(recipe | {"text_layer": "a", "image_layer": "b"})
    values = generator.normal(0, 0.01, (1 + ROWS * COLUMNS, EMBED)).astype(np.float32)
    embedding = np.ones(EMBED, np.float32) / EMBED**0.5
    grid = Grid(ROWS, COLUMNS, 1)
    tokens = Tokens("a boat", ("a", "boat"), ((0, 1), (2, 6)), (0, 1))
    phrase = Factors(values[:2], embedding, None, None, tokens, "exclip", "a", 10)
    with tempfile.TemporaryDirectory() as folder:
        with StoreWriter(folder, head) as writer:
            for number in range(count):
                some = Factors(np.roll(values, number), embedding, None, None, grid, "exclip", "b", 10)
                writer.add_image(str(number), some)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        store = Store(folder)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        store.find(phrase)
        extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
        # The same amount of numbers in memory, as float32, one part at a time as a store reads it.
        block = np.concatenate([values] * 64)
        query = values[0].copy()

        def product() -> None:
            for _ in range(-(-count // 64)):
                block @ query

        half = block.astype(np.float16)

        def widened() -> None:
            for _ in range(-(-count // 64)):
                half.astype(np.float32) @ query

        gallery, anywhere = StoreImages(store, None), random.Random(0)
        asked = {
            "find": lambda: store.find(phrase),
            "product": product,
            "widened": widened,
            # What a gallery does for a phrase, and for the tile of a pair in an order without a phrase.
            "gallery": lambda: gallery.rank(Query("match", phrase), lambda *_: None),
            "tile": lambda: store.image_factors(str(anywhere.randrange(count))),
        }
        seconds = medians(runs, asked)
    found = seconds["find"]
    print(
        f"| {count} | {size / 2**20:.0f} | {1e3 * found:.0f} | {found / seconds['product']:.1f} | "
        f"{found / seconds['widened']:.1f} | {seconds['gallery'] / found:.2f} | "
        f"{1e3 * seconds['tile']:.0f} | {extra:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", nargs="*", default=["ViT-B-32", "ViT-B-16"], help="open_clip ViTs")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--stored", type=int, nargs="*", default=[1000, 2500, 5000, 10_000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, help="measure only one process and this many workers")
    parser.add_argument(
        "--exclip", type=int, default=0, metavar="PAIRS", help="also measure exclip 1.1: minutes per pair"
    )
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    if options.workers:
        for name in options.model:
            by_workers(name, options.images, options.workers, options.exclip)
        return
    for name in options.model:
        explaining(name, options.images, options.runs)
    if options.stored:
        print("\nSearching stored images for a phrase: 14 x 14 patches, 512 dimensions, float16\n")
        print(
            "| images | MB | ms | x product in float32 | x widened, then product | gallery's order, x | "
            "factors of any image, ms | extra memory, MB |"
        )
        print("|---|---|---|---|---|---|---|---|")
    for count in options.stored:
        asking(count, options.runs)


if __name__ == "__main__":
    main()
