"""Gates: what is held in networks of all kinds, and what is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.held import Held
from torch import Tensor, nn
from torch.nn import functional as F

from exclip_widget import ModelError
from exclip_widget.paths.frozen import watch_moved
from exclip_widget.paths.gates import hold_gates
from exclip_widget.paths.onednn import MODES_ALLOW_BRANCHES
from exclip_widget.paths.watched import WatchedPass

WIDTH, TOKENS = 6, 5
torch.manual_seed(0)
MIX = torch.randn(WIDTH, WIDTH, dtype=torch.float64)
GROW = torch.randn(WIDTH, 2 * WIDTH, dtype=torch.float64)
X = torch.randn(1, TOKENS, WIDTH, dtype=torch.float64)


def attention(x: Tensor) -> Tensor:
    weights = (x @ MIX @ x.mT).softmax(-1)
    return (weights * 0.5 + 0.1) @ (x @ MIX)


def rms_by_hand(x: Tensor) -> Tensor:
    return x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() @ MIX


def norm_by_hand(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def glu(x: Tensor) -> Tensor:
    value, gate = (x @ GROW).chunk(2, -1)
    return value * gate.sigmoid()


def squeeze_and_excite(x: Tensor) -> Tensor:
    return x * F.hardsigmoid(x.mean(1, keepdim=True) @ MIX)


def gelu_by_hand(x: Tensor) -> Tensor:
    y = x @ MIX
    return y * 0.5 * (1 + torch.erf(y / 2**0.5))


def in_place(x: Tensor) -> Tensor:
    y = x @ MIX
    y = y.mul_(2).tanh_().clone()
    y[:, 0] = 3.0
    return y.add_(x)


def in_place_on_a_part(x: Tensor) -> Tensor:
    y = x @ MIX
    y[:, :2] += x[:, 1:3]
    y[:, :1].mul_(3)
    y[:, 2] = F.gelu(y[:, 2].clone())
    y[:, 1:].relu_()
    return y


def recurrent(x: Tensor) -> Tensor:
    torch.manual_seed(1)
    return nn.GRU(WIDTH, WIDTH, batch_first=True).double()(x)[0]


def pooled(x: Tensor) -> Tensor:
    return torch.cat([x.amax(1), x.logsumexp(1), F.normalize(x.mean(1), dim=-1)])[None]


NETWORKS: dict[str, Callable[[Tensor], Tensor]] = {
    "attention": attention,
    "fused attention": lambda x: F.scaled_dot_product_attention(x, x @ MIX, x),
    "layer norm": lambda x: F.layer_norm(x, (WIDTH,), MIX[0], MIX[1]),
    "layer norm without weights": lambda x: F.layer_norm(x, (TOKENS, WIDTH)),
    "layer norm by hand": norm_by_hand,
    "rms norm": lambda x: F.rms_norm(x, (WIDTH,), MIX[0]),
    "rms norm by hand": rms_by_hand,
    "glu": glu,
    "squeeze and excite": squeeze_and_excite,
    "gelu": lambda x: F.gelu(x @ MIX),
    "gelu by tanh": lambda x: F.gelu(x @ MIX, approximate="tanh"),
    "gelu by hand": gelu_by_hand,
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": lambda x: F.silu(x @ MIX),
    "mish": lambda x: F.mish(x),
    "hardswish": lambda x: F.hardswish(x),
    "elu": lambda x: F.elu(x, 0.7),
    "tanh": lambda x: (x @ MIX).tanh(),
    "in place": in_place,
    "in place on a part": in_place_on_a_part,
    "recurrent": recurrent,
    "pooled": pooled,
    "a constant times a gate": lambda x: x + 3 * x.mean((1, 2), keepdim=True).sigmoid(),
}


def held_jacobian(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the effect of each entry of the input when the pass runs again with its gates held."""
    held = Held()

    def run(given: Tensor) -> Tensor:
        with held.running():
            out = network(given.clone().requires_grad_()).sum(-2).flatten()
        return out.detach()

    first = run(x)
    steps = torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape)
    return torch.stack([run(x + step) - first for step in steps], 1)


def hold(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return a network's output, and hold its gates from then on."""
    moved = watch_moved(network, x)
    with WatchedPass(x, is_own=False) as watched:
        out = network(x)
    hold_gates(out, watched, moved)
    return out


def jacobian(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    given = x.clone().requires_grad_()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        out = hold(lambda x: network(x).sum(-2).flatten(), given)
    rows = [torch.autograd.grad(one, given, retain_graph=True)[0].flatten() for one in out]
    return torch.stack(rows)


@pytest.mark.parametrize("name", NETWORKS)
def test_held_is_run_again(name: str) -> None:
    expected = held_jacobian(NETWORKS[name], X)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(jacobian(NETWORKS[name], X), expected, atol=1e-9, rtol=1e-9)


def test_a_network_of_them_all() -> None:
    def network(x: Tensor) -> Tensor:
        for name in ("layer norm", "attention", "gelu", "rms norm by hand", "glu", "in place", "silu"):
            x = x + NETWORKS[name](x)
        return x

    torch.testing.assert_close(jacobian(network, X), held_jacobian(network, X), atol=1e-8, rtol=1e-8)


def test_group_norm_and_batch_norm() -> None:
    """Group norm holds its scale; batch norm already uses fixed statistics."""
    x = torch.randn(1, 6, 3, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, dtype=torch.float64)
    out = F.group_norm(x, 2, weight)
    hold_gates(out, WatchedPass(x))
    cotangent = torch.randn_like(out)
    found = torch.autograd.grad(out, x, cotangent)[0]
    groups = x.detach().reshape(2, -1)
    scale = (groups.var(1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
    moved = (cotangent * weight[:, None, None]).reshape(2, -1) * scale
    torch.testing.assert_close(found, (moved - moved.mean(1, keepdim=True)).reshape(x.shape))
    norm = nn.BatchNorm2d(6).double().eval()
    norm.running_var += 3
    out = norm(x)
    plain = torch.autograd.grad(out, x, cotangent, retain_graph=True)[0]
    hold_gates(out, WatchedPass(x))
    torch.testing.assert_close(torch.autograd.grad(out, x, cotangent)[0], plain)


@pytest.mark.parametrize(
    "norm",
    [
        lambda x, of_x: F.layer_norm(x, (WIDTH,), None, of_x),
        lambda x, of_x: F.layer_norm(x, (WIDTH,), of_x),
        lambda _, of_x: F.layer_norm(MIX, (WIDTH,), of_x),
        lambda x, of_x: F.rms_norm(x, (WIDTH,), of_x),
        lambda x, of_x: F.group_norm(x.mT, 2, None, of_x),
        lambda x, of_x: F.batch_norm(x.mT, MIX[0], MIX[1].abs(), of_x),
        lambda x, of_x: F.batch_norm(x.mT, MIX[0], MIX[1].abs(), None, of_x),
    ],
)
def test_a_norm_whose_weight_or_bias_depends_on_the_tokens_is_refused(
    norm: Callable[[Tensor, Tensor], Tensor],
) -> None:
    with pytest.raises(ModelError, match=r"the gate of .* is not known"):
        hold(lambda x: norm(x, x.mean((0, 1))), X.clone().requires_grad_())


def gelu_of_transformers(x: Tensor) -> Tensor:
    """Compute GELU as T5 and GPT-2 do."""
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x.pow(3))))


def fast_gelu_of_transformers(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(x * 0.79788456 * (1 + 0.044715 * x * x)))


@pytest.mark.parametrize(
    ("by_hand", "known"),
    [
        (gelu_of_transformers, lambda x: F.gelu(x, approximate="tanh")),
        (fast_gelu_of_transformers, lambda x: F.gelu(x, approximate="tanh")),
        (lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2, F.gelu),
        (lambda x: x * torch.sigmoid(x), F.silu),
        (lambda x: torch.sigmoid(x) * x, F.silu),
        (lambda x: x * F.hardsigmoid(x), F.hardswish),
        (lambda x: -2 * F.silu(x), lambda x: -2 * F.silu(x)),
    ],
    ids=["gelu by tanh", "fast gelu", "gelu by erf", "silu", "silu turned", "hardswish", "scaled"],
)
@pytest.mark.parametrize("is_gated", [False, True])
def test_an_activation_by_hand_is_the_one_that_it_writes_out(
    by_hand: Callable[[Tensor], Tensor], known: Callable[[Tensor], Tensor], is_gated: bool
) -> None:
    """The signal passes through it; in a gated unit, it is the gate of the other half."""

    def network(x: Tensor) -> Tensor:
        gate, value = (x @ GROW).chunk(2, -1)
        return by_hand(gate) * value if is_gated else by_hand(x @ MIX)

    gates = known((X @ GROW).chunk(2, -1)[0])
    fixed = lambda x: gates * (x @ GROW).chunk(2, -1)[1]  # noqa: E731
    expected = held_jacobian(fixed if is_gated else lambda x: known(x @ MIX), X)
    torch.testing.assert_close(jacobian(network, X), expected, atol=1e-7, rtol=1e-7)


def on_a_part(change: Callable[[Tensor, Tensor], object]) -> Callable[[Tensor], Tensor]:
    """Return a network that changes some of its tokens in place; autograd does not show how."""

    def network(x: Tensor) -> Tensor:
        y = x @ MIX
        change(y[:, :2], y[:, 2:4])
        return y

    return network


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(_: Any, grad: Tensor) -> Tensor:
        return 2 * grad


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (lambda x: x * x, "MulBackward0 of two signals"),
        (lambda x: x @ MIX @ x.mT, "BmmBackward0 of two signals"),
        (lambda x: x.sigmoid(), "SigmoidBackward0"),
        (lambda x: x.softmax(-1), "SoftmaxBackward0"),
        (lambda x: x.pow(3), "PowBackward0"),
        (lambda x: x + F.softplus(x), "SoftplusBackward0"),
        (lambda x: x + x.exp(), "ExpBackward0"),
        (lambda x: F.silu(x) * (x * x.sigmoid()), "MulBackward0 of two signals"),
        (lambda x: x * (1 + x @ MIX), "MulBackward0 of two signals"),
        (lambda x: 1 / x, "MulBackward0 of a constant"),
        (lambda x: MIX[0] / x, "DivBackward0 of a constant"),
        (lambda x: x + (MIX[0] / (1 + x.relu())) @ MIX, "Backward0 of a constant"),
        (lambda x: 2 * x.exp(), "MulBackward0 of a constant"),
        (on_a_part(lambda part, _: part.exp_()), "exp_, in place on a part of a tensor"),
        (on_a_part(lambda part, _: part.tanh_()), "tanh_, in place"),
        (on_a_part(lambda part, _: F.silu(part, inplace=True)), "silu_, in place"),
        (on_a_part(lambda part, other: part.mul_(other)), "mul_, in place"),
        (lambda x: F.conv1d(x.mT, x.mean(1)[..., None]), "ConvolutionBackward0 of two signals"),
        (lambda x: F.prelu(x, x.mean()[None]), "of two signals"),
        (lambda x: torch.lerp(x, MIX[0], x), "LerpBackward1 of two signals"),
        (lambda x: Twice.apply(x), "TwiceBackward"),
        pytest.param(
            lambda x: torch.cond(x.sum() > 1e9, lambda x: 0 * x, lambda x: x.tanh(), (x,)),
            "CondAutogradOp",
            marks=pytest.mark.skipif(not MODES_ALLOW_BRANCHES, reason="torch before 2.7 refuses it itself"),
        ),
        (lambda x: F.batch_norm(x, None, None, training=True), "NativeBatchNormBackward0"),
    ],
)
def test_what_is_not_known_is_refused_by_name(network: Callable[[Tensor], Tensor], named: str) -> None:
    with pytest.raises(ModelError, match=f"the gate of .*{re.escape(named)}.* is not known"):
        hold(network, X.clone().requires_grad_())


@pytest.mark.parametrize("name", ["Gelu", "Tanh", "Div", "NativeBatchNorm", "Sigmoid", "GeluBackward0"])
def test_a_function_that_bears_the_name_of_torchs_own_is_not_known(name: str) -> None:
    """Only torch's own nodes have the gates of their names."""
    function = type(name, (Twice,), {})
    with pytest.raises(ModelError, match=f"the gate of {name}Backward is not known"):
        hold(lambda x: x + function.apply(x @ MIX), X.clone().requires_grad_())


def written_over(x: Tensor) -> Tensor:
    y = x @ MIX
    y[..., ::2].copy_(F.gelu(y[..., ::2]))
    return y


def test_an_input_that_is_written_over_later_is_refused() -> None:
    """The gate of GELU needs its input, which autograd no longer has."""
    with pytest.raises(ModelError, match=r"cannot be differentiated: .* modified by an inplace operation"):
        hold(written_over, X.clone().requires_grad_())


def without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        branch = F.gelu(x @ MIX)
    return x + branch


def on_a_view(change: Callable[[Tensor, Tensor], object]) -> Callable[[Tensor], Tensor]:
    """Return a network that changes some of its tokens in place with others that are detached."""

    def network(x: Tensor) -> Tensor:
        y = x @ MIX
        change(y[:, :2], (x @ MIX.T).detach()[:, :2])
        return y

    return network


def filled(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, 2:] = x.detach()[:, 2:]
    y[:, :2] = x[:, :2]
    return y


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (lambda x: (x @ MIX) + (x @ MIX.T).tanh().detach(), "add"),
        (lambda x: (x @ MIX) + (2 * (x @ MIX).detach()).mT.mT, "add"),
        (lambda x: without_gradients(x @ MIX), "add"),
        (lambda x: (x @ MIX) + (x @ MIX).data, "add"),
        (lambda x: torch.cat([x @ MIX, (x @ MIX).detach()], 1), "cat"),
        (lambda x: torch.addmm((x[0] @ MIX).detach(), x[0], MIX)[None], "addmm"),
        (lambda x: x + ((x @ MIX).round() - x @ MIX).detach(), "add"),  # a straight-through estimator
        (lambda x: x + x.detach() @ MIX.clone().requires_grad_(), "add"),
        (lambda x: x + F.linear(x.detach(), MIX.clone().requires_grad_(), MIX[0]), "add"),
        (lambda x: x + torch.addmm(x[0], x[0].detach(), MIX)[None], "addmm"),
        (lambda x: x + x.exp().detach(), "add"),
        (lambda x: x + (x @ MIX @ x.mT).softmax(-1) @ (x @ MIX).detach(), "bmm"),
        (lambda x: x + (x @ MIX @ x.mT).softmax(-1) @ (x @ MIX).detach() @ MIX, "bmm"),
        (lambda x: x + F.linear((x @ MIX).sigmoid() * x.detach(), MIX, MIX[0]), "mul"),
        (lambda x: x + ((1.7 * x).sigmoid() * x.detach()).mT.reshape(-1, WIDTH) @ MIX, "mul"),
        (lambda x: x + (x.sigmoid() * (x @ MIX).sigmoid() * x.detach()) @ MIX, "mul"),
        (lambda x: x + (x.sigmoid() * (x.sigmoid() * x.detach())) @ MIX, "mul"),
        (lambda x: x + (x.detach() / (1 + x.sigmoid())) @ MIX, "div"),
        (lambda x: x + (x.sigmoid() + x.detach()) @ MIX, "add"),
        (lambda x: x + (x.sigmoid() * x.detach()).add_(1) @ MIX, "mul"),
        (lambda x: x + F.silu(x @ MIX) * (x @ MIX.T).detach(), "mul"),
        (lambda x: x.detach() * 0.5 * (1 + torch.tanh(x)), "mul"),
        (on_a_view(lambda part, other: part.add_(other)), "add"),
        (on_a_view(lambda part, other: part.copy_(other)), "copy"),
        (filled, "copy"),
    ],
)
def test_what_is_detached_and_comes_back_is_refused(network: Callable[[Tensor], Tensor], named: str) -> None:
    with pytest.raises(ModelError, match=f"part of the signal is detached and rejoins it through {named},"):
        hold(network, X.clone().requires_grad_())


@pytest.mark.parametrize(
    "unseen",
    [
        lambda x: torch.from_numpy(x.detach().numpy()),
        lambda x: torch.tensor(x.tolist(), dtype=torch.float64),
        lambda x: x.mean().item(),
        lambda x: MIX[0] * torch.from_numpy(x.detach().numpy()),
    ],
    ids=["NumPy", "tolist", "item", "scaled"],
)
def test_what_comes_back_from_outside_torch_is_refused(unseen: Callable[[Tensor], Any]) -> None:
    """As a gate it is allowed, like anything detached."""
    x = X.clone().requires_grad_()
    with pytest.raises(ModelError, match=r"part of the signal leaves torch, .* and rejoins it through add,"):
        hold(lambda x: F.gelu(x @ MIX + unseen(x)), x)
    with pytest.raises(ModelError, match="and rejoins it through"):
        hold(lambda x: x + (x @ MIX @ x.mT).softmax(-1) @ (0 * X + unseen(x)), x)
    with pytest.raises(ModelError, match="and rejoins it through mul,"):
        hold(lambda x: x + (x.sigmoid() * unseen(x)) @ MIX, x)
    out = hold(lambda x: x @ MIX * unseen(x), x)
    (found,) = torch.autograd.grad(out.sum(), x)
    factor = unseen(X) if isinstance(unseen(X), Tensor) else torch.full_like(X, unseen(X))
    torch.testing.assert_close(found, factor @ MIX.T)


def softmax_by_hand(x: Tensor) -> Tensor:
    scores = x @ MIX @ x.mT.detach()
    shares = (scores - scores.amax(-1, keepdim=True).detach()).exp()
    return x + (shares / shares.sum(-1, keepdim=True)).detach() @ x


def with_weights_of_its_own(x: Tensor) -> Tensor:
    weight = MIX.clone().requires_grad_()
    return x @ weight + (2 * weight[0]).detach()


def norm_with_its_scale_detached(x: Tensor) -> Tensor:
    scale = (x.var(-1, keepdim=True, unbiased=False) + 1e-6).rsqrt().detach()
    return (x - x.mean(-1, keepdim=True)) * scale


def masked(x: Tensor) -> Tensor:
    return x.masked_fill((x @ MIX).detach() > 1e3, 0) @ MIX


def activation_times_gate(x: Tensor) -> Tensor:
    return F.gelu(x @ MIX) * (1 + x.mean(1, keepdim=True) @ MIX).sigmoid().detach()


def response_norm(x: Tensor) -> Tensor:
    y = F.gelu(x @ MIX)
    length = y.norm(dim=1, keepdim=True)
    return y + y * (length / (length.mean(-1, keepdim=True) + 1e-6)).detach()


def scaled_by_its_largest(x: Tensor) -> Tensor:
    y = F.silu(x @ MIX)
    largest = y.detach().abs().amax(-1, keepdim=True)
    return (y / largest * 127) * (largest / 127)


def prompted(x: Tensor) -> Tensor:
    """Attention to constants, and another gate of them."""
    return x + ((x @ MIX).softmax(-1) @ MIX * x.mean(1, keepdim=True).sigmoid()) @ MIX


@pytest.mark.parametrize(
    "network",
    [
        softmax_by_hand,
        with_weights_of_its_own,
        norm_with_its_scale_detached,
        masked,
        activation_times_gate,
        response_norm,
        scaled_by_its_largest,
        prompted,
        lambda x: x + (x @ MIX) * (x @ MIX.T).sigmoid().detach() @ MIX,
        lambda x: x * (x @ MIX).detach(),
        on_a_view(lambda part, other: part.mul_(other)),
        lambda x: torch.zeros_like(x.detach()).add_(x @ MIX),
    ],
)
def test_a_gate_may_be_detached(network: Callable[[Tensor], Tensor]) -> None:
    x = X.clone().requires_grad_()
    out = hold(network, x)
    (found,) = torch.autograd.grad((out @ MIX).sum(), x)
    assert found.abs().max() > 1e-3


def test_nothing_is_left_on_another_graph() -> None:
    """Hooks affect only the pass whose gates are held."""
    x = X.clone().requires_grad_()
    plain = torch.autograd.grad(F.gelu(x).sum(), x)[0]
    hold_gates(F.gelu(x), WatchedPass(x))
    torch.testing.assert_close(torch.autograd.grad(F.gelu(x).sum(), x)[0], plain)
