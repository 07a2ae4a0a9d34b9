"""Measure the cost of explanations, compared with forward passes of the same model and with exclip 1.1.

    python benchmarks/engine.py [--model ViT-B-32 ViT-B-16 ...] [--part ...] [--exclip MODEL]

Everything is timed in one process, in turns, as medians; only the ratios count. Weights are random, because
the cost does not depend on them. Every run gets new pixels, so that nothing cached by the last one helps.
exclip is measured in a process of its own, because its memory use would dominate the peak.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from exclip_widget import (
    Explainer,
    FrozenGates,
    Interactions,
    demo,
    explain,
    explain_layers,
    interactions_of,
)
from exclip_widget.demo.captions import describe
from exclip_widget.demo.retrieval import held_out_scenes
from exclip_widget.paths.autograd import CutPath
from exclip_widget.paths.evaluation_mode import evaluation_mode
from exclip_widget.paths.quadrature import quadrature

CAPTION = "two dogs chase a yellow ball on a beach"
STEPS = 10


def megabytes() -> float:
    """Return the peak resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def medians(runs: int, work: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each piece of work, run in turns so that a slow moment affects all."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for run in range(runs + 1):
        for name, piece in work.items():
            start = time.perf_counter()
            piece()
            if run:  # the first turn warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def inputs(name: str) -> tuple[Any, Image.Image, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=None)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (320, 480, 3), np.uint8))
    return model.eval(), image, preprocess(image)[None], open_clip.get_tokenizer(name)(CAPTION)


def fresh(pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the pixels, changed very slightly every time."""
    for number in itertools.count(1):
        yield pixels + 1e-4 * number


def default_layer(name: str, runs: int) -> None:
    model, image, pixels, ids = inputs(name)
    images = fresh(pixels)
    explainer = Explainer(model, method="exclip")

    @torch.inference_mode()
    def forward() -> None:
        model.encode_image(pixels)
        model.encode_text(ids)

    @torch.inference_mode()
    def caption_forward() -> None:
        model.encode_text(ids)

    forward()
    before = megabytes()
    explain(model, next(images), CAPTION, method="exclip")
    extra = megabytes() - before
    image_factors = explainer.image_factors(pixels)
    work: dict[str, Callable[[], object]] = {
        "forward": forward,
        **{
            f"explain, N = {steps}": lambda steps=steps: explain(
                model, next(images), CAPTION, method="exclip", steps=steps
            )
            for steps in (5, STEPS, 20)
        },
        "explain, N = 10, a photo": lambda: explain(model, image, CAPTION, method="exclip"),
        "factors of both sides, N = 10": lambda: (
            explainer.text_factors(CAPTION),
            explainer.image_factors(next(images)),
        ),
        "caption forward": caption_forward,
        "new caption, same image": lambda: interactions_of(explainer.text_factors(CAPTION), image_factors),
        "token similarity": lambda: explain(model, next(images), CAPTION, method="similarity"),
        "gradient": lambda: explain(model, next(images), CAPTION, method="gradient"),
    }
    seconds = medians(runs, work)
    print(f"\n{name}, {torch.get_num_threads()} threads\n")
    print("| | ms | x forward |\n|---|---|---|")
    for label, value in seconds.items():
        against = seconds["caption forward"] if label.startswith("new caption") else seconds["forward"]
        unit = " of a caption's" if label.startswith("new caption") else ""
        print(f"| {label} | {1e3 * value:.0f} | {value / against:.2f}{unit} |")
    print(f"\nextra memory at the first explanation: {extra:.0f} MB")


def frozen(name: str, runs: int) -> None:
    """Measure frozen gates: single pairs of layers, and all layers of a tower."""
    model, _, pixels, ids = inputs(name)
    images = fresh(pixels)

    @torch.inference_mode()
    def forward() -> None:
        model.encode_image(pixels)
        model.encode_text(ids)

    def pair(text_layer: int, image_layer: int) -> object:
        layers = {"text_layer": text_layer, "image_layer": image_layer}
        return explain(model, next(images), CAPTION, method="frozen", **layers)

    def all_layers(text_layers: list[int] | None, **options: Any) -> object:
        method = FrozenGates(**options)
        return explain_layers(model, next(images), CAPTION, text_layers=text_layers, method=method)

    explainer = Explainer(model, method="frozen")

    def first_estimate() -> object:
        return next(explainer.refine([explainer.text_factors(CAPTION)], next(images), estimates=4))

    forward()
    before = megabytes()
    work: dict[str, Callable[[], object]] = {
        "forward": forward,
        "the first estimate, with an exact sum over all tokens": first_estimate,
        "all image layers": lambda: all_layers([0]),
        "the same, rank 5": lambda: all_layers([0], rank=5),
        "the same, rank 2": lambda: all_layers([0], rank=2),
        "all layers of both towers, 2 %": lambda: all_layers(None, tolerance=0.02),
        "text block 0, image block 1 (the default)": lambda: pair(0, 1),
        "last block of both": lambda: pair(-1, -1),
    }
    seconds = medians(runs, work)
    whole = seconds.pop("forward")
    print(f"\n{name}, frozen gates, in forward passes of {1e3 * whole:.0f} ms: ", end="")
    print(", ".join(f"{label} {value / whole:.1f}" for label, value in seconds.items()), end="; ")
    print(f"extra memory {megabytes() - before:.0f} MB")


def many(name: str, count: int = 64) -> None:
    """Measure `count` captions and images against each other."""
    model, _, pixels, _ = inputs(name)
    explainer = Explainer(model, method="exclip")
    images = fresh(pixels)
    start = time.perf_counter()
    texts = [explainer.text_factors(f"{CAPTION} {number}") for number in range(count)]
    factors = [explainer.image_factors(next(images)) for _ in range(count)]
    sides = time.perf_counter() - start
    seconds = medians(5, {"products": lambda: interactions_of(texts, factors)})["products"]
    print(f"\n{name}: {count} captions x {count} images: {2 * count} sides {sides:.1f} s, ", end="")
    print(f"all {count**2} products {1e3 * seconds:.0f} ms = {seconds / sides:.2%} more")


def earlier_layer(name: str, layer: int, of: int = 4) -> None:
    """Measure one pair at an earlier block, compared with one reverse pass per dimension of the embedding."""
    model, _, pixels, _ = inputs(name)
    explainer = Explainer(model, method="exclip", text_layer=layer, image_layer=layer)
    seconds = medians(3, {"pair": lambda: explainer.explain(pixels, CAPTION)})["pair"]
    caption = explainer.read_caption(CAPTION)
    nodes, weights = (torch.from_numpy(part).float() for part in quadrature("gauss-legendre", STEPS))
    with evaluation_mode(model):
        ((text,),) = explainer._text_sides([caption], [explainer._text_layer])
        ((image,),) = explainer._image_sides([pixels], [explainer._image_layer])
        width = text.path().embeddings(nodes[:1]).shape[1]
        some = torch.eye(width)[:of]

        def reverse() -> None:
            for side in (text, image):
                CutPath(side.differentiable(), side.reference, side.tokens).integrate_cotangents(
                    nodes, weights, some
                )

        naive = medians(2, {"reverse": reverse})["reverse"] * width / of
    print(f"\n{name}, block {layer}, N = {STEPS}: one pair {seconds:.1f} s; ", end="")
    print(
        f"{width} reverse passes of both sides {naive:.0f} s (from {of}) or {naive / seconds:.0f} times that"
    )


def rules(scenes: int = 10) -> None:
    """Measure how far each quadrature rule is from the integral, on the trained picture-book model."""
    book = demo.load()
    pairs = [
        (scene.draw(96), describe(scene, random.Random(number), full=True).caption)
        for number, scene in enumerate(held_out_scenes(scenes))
    ]

    def explained(rule: str, steps: int, layer: int) -> list[Interactions]:
        where = {"text_layer": layer, "image_layer": layer}
        explainer = Explainer(
            book.model, tokenizer=book.tokenizer, method="exclip", rule=rule, steps=steps, **where
        )
        return [explainer.explain(*pair) for pair in pairs]

    def error(found: Interactions, exact: Interactions) -> float:
        return float(np.linalg.norm(found.values - exact.values) / np.linalg.norm(exact.values))

    layers = (-1, 2, 0)
    exact = {layer: explained("gauss-legendre", 80, layer) for layer in layers}
    print("\nPicture-book model, medians: completeness residual, distance of entries from the integral's\n")
    print("| rule | N | last block | block 2 | block 0 |\n|---|---|---|---|---|")
    rows = [
        ("right", 10),
        ("right", 50),
        ("midpoint", 10),
        *(("gauss-legendre", n) for n in (5, 10, 20)),
        *(("arc-length", n) for n in (5, 10, 15, 20)),
    ]
    for rule, steps in rows:
        print(f"| {rule} | {steps} |", end="")
        for layer in layers:
            found = explained(rule, steps, layer)
            residual = statistics.median(one.residual for one in found)
            distance = statistics.median(map(error, found, exact[layer]))
            print(f" {residual:.2%}, {distance:.2%} |", end="", flush=True)
        print()


def exclip(name: str) -> None:
    from exclip import OpenClipExplainer

    model, _, pixels, ids = inputs(name)
    with torch.inference_mode():
        forward = medians(5, {"forward": lambda: (model.encode_image(pixels), model.encode_text(ids))})
    before, start = megabytes(), time.perf_counter()
    explainer = OpenClipExplainer(model, device="cpu", image_dim=pixels.shape[-1])
    explainer.explain(ids, pixels, 11, 11, STEPS)
    seconds = time.perf_counter() - start
    print(f"\n{name}: exclip 1.1, N = {STEPS}, one run: {seconds:.1f} s, ", end="")
    print(f"{seconds / forward['forward']:.0f} x forward, extra memory {megabytes() - before:.0f} MB")


PARTS = {
    "default": default_layer,
    "frozen": frozen,
    "many": many,
    "earlier": earlier_layer,
    "rules": rules,
    "exclip": exclip,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["ViT-B-32", "ViT-B-16"], help="open_clip ViTs")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=[*PARTS][:-1])
    parser.add_argument(
        "--exclip", metavar="MODEL", help="measure only exclip 1.1: takes minutes and gigabytes"
    )
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    if options.exclip:
        exclip(options.exclip)
        return
    for name in options.model:
        # One process per model, because a process can only report its peak memory.
        if len(options.model) > 1 and {"default"} & set(options.part):
            command = [
                sys.executable,
                __file__,
                "--model",
                name,
                "--part",
                "default",
                "--runs",
                str(options.runs),
            ]
            subprocess.run(command, check=True)
        elif "default" in options.part:
            default_layer(name, options.runs)
    if "frozen" in options.part:
        frozen("ViT-B-16", min(options.runs, 3))
    if "many" in options.part:
        many("ViT-B-32")
    if "earlier" in options.part:
        earlier_layer("ViT-B-16", 6)
    if "rules" in options.part:
        rules()


if __name__ == "__main__":
    main()
