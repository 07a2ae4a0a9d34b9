"""Train the picture-book model from a seed: `python -m exclip_widget.demo.train`.

The loss is the usual symmetric contrastive one (Radford et al., 2021). The batches teach binding: every
second scene is the *twin* of the previous one, with one change (colours exchanged, places exchanged, another
colour, kind or number), so each caption has a neighbour that differs in just that.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .captions import describe
from .picture_book import PREPROCESS, UNKNOWN, PictureBookTokenizer, build_model
from .retrieval import colour_binding, pixels_to_input, recall_at_1
from .scenes import Scene, recolour, recount, replace_kind, sample_scene, swap_colours, swap_places

MARGIN = 4
"""Pixels by which a training picture may be shifted in each direction: it is drawn larger, then cropped."""


@dataclass(frozen=True)
class Recipe:
    """Settings that, with the seed and the number of steps, determine a training run."""

    batch: int = 192
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 150
    decay: float = 0.3  # final share of the steps, during which the rate falls to zero
    patch_dropout: float = 0.4  # until the decay; Li et al. (2023), "FLIP": faster, equally good
    unknown: float = 0.01  # share of words replaced by unknown, to train its row too


RECIPE = Recipe()


def twins(rng: random.Random) -> tuple[Scene, Scene, str, str]:
    """Return two scenes that differ in one thing, and captions of the same form that tell them apart."""
    scene = sample_scene(rng)
    form = rng.getrandbits(31)
    caption = describe(scene, random.Random(form)).caption
    changes = [swap_colours, swap_colours, swap_places, recolour, replace_kind, recount]
    rng.shuffle(changes)
    for change in changes:
        twin = change(scene, rng)
        if twin is None or sum(group.count for group in twin.groups) > 4:
            continue
        other = describe(twin, random.Random(form)).caption
        if other != caption:
            return scene, twin, caption, other
    raise AssertionError("recolouring always changes the caption")


class Batches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batches of the run with this seed, one per step: pixels (batch, 96, 96, 3) and caption ids."""

    def __init__(self, seed: int, steps: range) -> None:
        self.seed, self.steps = seed, steps
        self.tokenizer = PictureBookTokenizer()

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = random.Random(f"train {self.seed} {self.steps[index]}")
        size = PREPROCESS.size
        pictures, captions = [], []
        for _ in range(RECIPE.batch // 2):
            scene, twin, *pair = twins(rng)
            captions += pair
            for drawn in (scene, twin):
                x, y = rng.randrange(2 * MARGIN + 1), rng.randrange(2 * MARGIN + 1)
                pictures.append(np.asarray(drawn.draw(size + 2 * MARGIN))[y : y + size, x : x + size])
        ids = self.tokenizer(captions)
        generator = torch.Generator().manual_seed(rng.getrandbits(31))
        forget = torch.rand(ids.shape, generator=generator) < RECIPE.unknown
        words = (ids > UNKNOWN) & (ids < self.tokenizer.sot_token_id)
        return torch.from_numpy(np.stack(pictures)), ids.masked_fill(forget & words, UNKNOWN)


def contrastive_loss(image: torch.Tensor, text: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the symmetric cross entropy over scaled similarities; equal captions do not compete."""
    logits = image @ text.T
    same = (ids[:, None] == ids[None]).all(-1) & ~torch.eye(len(ids), dtype=torch.bool)
    logits = logits.masked_fill(same, -torch.inf)
    truth = torch.arange(len(ids))
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def rate(step: int, steps: int) -> float:
    """Return the share of the full learning rate: warm up, stay constant, then fall linearly to zero."""
    return min(1.0, (step + 1) / RECIPE.warmup, (steps - step) / (RECIPE.decay * steps))


def train(directory: Path, *, seed: int, steps: int, every: int) -> None:
    """Train for `steps` steps, resuming from the last checkpoint in `directory` if there is one."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = PictureBookTokenizer()
    model = build_model(tokenizer, patch_dropout=RECIPE.patch_dropout)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": RECIPE.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RECIPE.learning_rate, betas=(0.9, 0.98))
    start = 0
    checkpoint = directory / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["seed"] != seed:
            raise SystemExit(f"{checkpoint} was trained from seed {saved['seed']}, not {seed}")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        start = saved["step"]

    batches = DataLoader(Batches(seed, range(start, steps)), batch_size=None, num_workers=1)
    bar = tqdm(batches, initial=start, total=steps, unit="step", dynamic_ncols=True)
    for step, (pixels, ids) in enumerate(bar, start):
        dropping = rate(step, steps) == 1 or step < RECIPE.warmup
        model.train()
        model.visual.patch_dropout.prob = RECIPE.patch_dropout if dropping else 0.0
        for group in optimizer.param_groups:
            group["lr"] = RECIPE.learning_rate * rate(step, steps)
        torch.manual_seed(seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16):
            image = model.encode_image(pixels_to_input(pixels), normalize=True)
            text = model.encode_text(ids, normalize=True)
        scale = model.logit_scale.exp().clamp(max=100)
        loss = contrastive_loss(scale * image.float(), text.float(), ids)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", scale=f"{scale.item():.0f}")

        if (step + 1) % every == 0 or step + 1 == steps:
            model.eval()
            found, bound = recall_at_1(model, tokenizer), colour_binding(model, tokenizer)
            bar.write(
                f"step {step + 1}: loss {loss.item():.3f}, R@1 of 256 {found[0]:.3f} / {found[1]:.3f}, "
                f"colours swapped {bound[0]:.3f} / {bound[1]:.3f}"
            )
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            # Written to another name, then moved: an interrupted run leaves the last complete checkpoint.
            torch.save({**state, "seed": seed, "step": step + 1}, directory / "checkpoint.new")
            (directory / "checkpoint.new").replace(checkpoint)

    weights = {name: weight.half().contiguous() for name, weight in model.state_dict().items()}
    recipe = json.dumps({"seed": seed, "steps": steps, **vars(RECIPE)})
    save_file(weights, directory / "picture_book.safetensors", metadata={"recipe": recipe})


def main() -> None:
    """Run the command line of `python -m exclip_widget.demo.train`."""
    parser = argparse.ArgumentParser(prog="python -m exclip_widget.demo.train", description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("picture-book-run"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    options = parser.parse_args()
    train(options.directory, seed=options.seed, steps=options.steps, every=options.every)


if __name__ == "__main__":
    main()
