"""Weights for tiny random models: every parameter is redrawn, and none is negligible.

The constructors of open_clip and of OpenAI's ``clip`` draw weights so small that attention is uniform and
every block is nearly the identity. A wrong formula would pass on such a model, so every parameter is drawn
again, large enough for attention to be peaked and for normalisation, biases and layer scales to matter.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import nn

from support.zoo.inputs import preprocess_to, scene


def sharpen(model: nn.Module, seed: int = 0, gain: float = 1.4) -> nn.Module:
    """Draw every parameter again so that attention is peaked and no term is negligible."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("logit_scale") or not parameter.requires_grad:
                continue
            noise = torch.randn(parameter.shape, generator=random)
            if parameter.ndim < 2:
                # Normalisation weights and layer scales stay positive; biases are centred.
                scale = name.endswith(("weight", "gamma"))
                value = 1.0 + 0.4 * noise.tanh() if scale else 0.3 * noise
                if name.endswith(("class_embedding", "cls_emb")):
                    value = noise
            elif "embedding" in name:
                value = noise
            elif name.endswith(("text_projection", "proj")):
                value = noise * parameter.shape[0] ** -0.5
            else:
                value = noise * gain * parameter[0].numel() ** -0.5
            parameter.copy_(value)
    return model.eval()


def draw(model: nn.Module, seed: int) -> nn.Module:
    """Draw every weight again."""
    sharpen(model, seed)
    random = torch.Generator().manual_seed(seed + 1000)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=random)
            last = name.rsplit(".", 1)[-1]
            if last in ("cls_token", "cls_emb", "pos_embed", "positional_embedding"):
                parameter.copy_(noise)
            elif last in ("query", "probe", "latent"):
                parameter.copy_(2 * noise)
            elif last == "gamma" and parameter.ndim > 1:
                # Layer scales of FastViT. Closer to one, its many branches would make the path very steep.
                parameter.copy_(0.3 + 0.1 * noise.tanh())
            elif parameter.ndim > 1 and "patch_embed" in name:
                # `sharpen` mistakes it for a table of embeddings, whose rows are used one at a time.
                parameter.copy_(2 * noise * parameter[0].numel() ** -0.5)
    return model.eval()


def normalise_batches(model: nn.Module, seed: int, size: tuple[int, int]) -> None:
    """Set the statistics of batch normalisation to roughly fit its inputs, as in a trained model.

    With statistics unrelated to the activations, the activations would grow from layer to layer.
    """
    random = torch.Generator().manual_seed(seed + 2000)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    encoder: Any = model.encode_image if hasattr(model, "encode_image") else model.embed_image
    with torch.no_grad():
        encoder(torch.stack([preprocess_to(*size)(Image.fromarray(scene(100 + n))) for n in range(16)]))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum
            mean: Any = norm.running_mean
            var: Any = norm.running_var
            mean += 0.3 * var.sqrt() * torch.randn(mean.shape, generator=random)
            var *= 0.5 + torch.rand(var.shape, generator=random)


def spread_normalisation(model: nn.Module) -> None:
    """Draw running statistics like a trained model's: with a new model's, normalisation does nothing."""
    random = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.3 * torch.randn(module.running_mean.shape, generator=random))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=random))


def mild(model: nn.Module) -> nn.Module:
    """Draw weights small enough that the model does not amplify rounding to half precision."""
    return sharpen(model, seed=3, gain=0.7)
