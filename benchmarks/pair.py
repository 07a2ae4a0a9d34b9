"""What explaining one pair costs, beside a forward pass of both encoders and beside exclip 1.1.

    python benchmarks/pair.py [--model ViT-B-32] [--exclip]

Everything is timed in one process, in turns, as medians; ratios are what counts. Weights are random: cost
does not depend on them. exclip is measured in a process of its own, because its memory is what it is.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import open_clip
import torch
from PIL import Image

from exclip_widget import explain
from exclip_widget.explain import Explanation

CAPTION = "two dogs chase a yellow ball on a beach"


def megabytes() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def medians(runs: int, **work: Callable[[], object]) -> dict[str, float]:
    """Seconds of each piece of work, run in turns so that a slow moment slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for run in range(runs + 1):
        for name, piece in work.items():
            start = time.perf_counter()
            piece()
            if run:  # the first turn warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def inputs(name: str) -> tuple[torch.nn.Module, Image.Image, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=None)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (320, 480, 3), np.uint8))
    return model.eval(), picture, preprocess(picture)[None], open_clip.get_tokenizer(name)(CAPTION)


def ours(name: str, runs: int) -> None:
    model, picture, pixels, ids = inputs(name)

    @torch.inference_mode()
    def forward() -> None:
        model.encode_image(pixels)
        model.encode_text(ids)

    def explain_with(**options: object) -> Callable[[], object]:
        return lambda: explain(model, picture, CAPTION, **options)

    def read() -> object:
        explanation = Explanation(model, picture, CAPTION)
        return explanation.preprocess(explanation.image)

    forward()
    before = megabytes()
    explain(model, picture, CAPTION)
    extra = megabytes() - before
    seconds = medians(
        runs,
        forward=forward,
        read=read,
        **{f"explain, {steps} nodes": explain_with(steps=steps) for steps in (5, 10, 20)},
    )
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}")
    print(f"{'':26}{'ms':>8}{'x forward':>12}")
    for label, value in seconds.items():
        print(f"{label:26}{1e3 * value:8.1f}{value / seconds['forward']:12.2f}")
    print("('read' decodes, preprocesses and tokenizes, and is part of each 'explain')")
    print(f"extra memory at the first explanation: {extra:.0f} MB")


def exclip(name: str) -> None:
    from exclip import OpenClipExplainer

    model, _, pixels, ids = inputs(name)
    with torch.inference_mode():
        forward = medians(5, forward=lambda: (model.encode_image(pixels), model.encode_text(ids)))
    before, start = megabytes(), time.perf_counter()
    explainer = OpenClipExplainer(model, device="cpu", image_dim=pixels.shape[-1])
    explainer.explain(ids, pixels, 11, 11, 10)
    seconds = time.perf_counter() - start
    print(
        f"exclip 1.1, 10 nodes, one run: {seconds:.1f} s, {seconds / forward['forward']:.0f} x forward, ",
        end="",
    )
    print(f"extra memory {megabytes() - before:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip ViT of 12 layers")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--exclip", action="store_true", help="measure exclip 1.1 too: minutes, gigabytes")
    parser.add_argument("--only-exclip", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_exclip:
        exclip(options.model)
        return
    ours(options.model, options.runs)
    if options.exclip:
        command = [sys.executable, __file__, "--model", options.model, "--only-exclip"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
