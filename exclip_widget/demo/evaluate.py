"""Score the picture-book model and its explanations: `python -m exclip_widget.demo.evaluate`."""

from __future__ import annotations

from .picture_book import load_model
from .pointing import pointing_game
from .retrieval import colour_binding, recall_at_1

LAYERS = (
    ("text last, image last", (-1, -1)),
    ("text block 0, image last", (0, -1)),
    ("text block 0, image block 2", (0, 2)),
    ("text block 0, image block 0", (0, 0)),
)


def main() -> None:
    """Print the figures that the documentation quotes."""
    model, tokenizer, _ = load_model()
    to_caption, to_picture = recall_at_1(model, tokenizer)
    print(f"R@1 of 256: picture to caption {to_caption:.3f}, caption to picture {to_picture:.3f}")
    of_caption, of_picture = colour_binding(model, tokenizer)
    print(f"colours exchanged: right caption {of_caption:.3f}, right picture {of_picture:.3f}")
    print(f"{'pointing game':30}{'hit':>8}{'energy':>8}{'chance':>8}{'residual':>10}")
    for name, layers in LAYERS:
        score = pointing_game(model, tokenizer, layers=layers, steps=20)
        print(f"{name:30}{score.hit:8.3f}{score.energy:8.3f}{score.chance:8.3f}{score.residual:10.2%}")


if __name__ == "__main__":
    main()
