"""Kinds of operations, by the names of their nodes in autograd's graph."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

Node: TypeAlias = Any
"""A node of autograd's graph; torch has no public type for those of its own functions."""

LINEAR = frozenset(
    """
    Add Sub Rsub Neg Sum Mean Nansum Cumsum View UnsafeView ReshapeAlias Permute Transpose T MT Squeeze
    Unsqueeze Expand Repeat Cat Stack Slice Select Split SplitWithSizes Unbind Chunk Narrow Index IndexSelect
    Gather Take Clone Copy ToCopy Contiguous Alias AsStrided Unfold Flip Roll Where MaskedFill MaskedSelect
    Tril Triu Diagonal ConstantPadNd ReflectionPad1D ReflectionPad2D ReplicationPad2D Convolution
    ConvolutionOverrideable MkldnnConvolution SlowConv2D ThnnConv2D AvgPool2D AvgPool3D AdaptiveAvgPool2D
    AdaptiveAvgPool1D MkldnnAdaptiveAvgPool2D UpsampleNearest2D UpsampleBilinear2D UpsampleBicubic2D
    UpsampleBilinear2DAa UpsampleBicubic2DAa PixelShuffle PixelUnshuffle Lerp Trace SumToSize Movedim
    UnsafeSplit IndexPut IndexAdd Scatter ScatterAdd SelectScatter SliceScatter CopySlices Im2Col Col2Im
    Relu LeakyRelu Prelu PreluKernel Threshold Hardtanh Clamp ClampMin ClampMax Abs Max Min Maximum Minimum
    Amax Amin MaxPool2DWithIndices AdaptiveMaxPool2D Sort Topk Values Dropout NativeDropout Detach Logsumexp
    """.split()
)
"""Linear in their input, or already differentiated by autograd as if their gates were held: relu is its own
gate, and the weights of a log-sum-exp are its derivative."""

CONSTANT = frozenset(
    """
    Softmax SafeSoftmax LogSoftmax Sigmoid LogSigmoid Hardsigmoid Erf Exp Expm1 Log Log1P Pow Sqrt Rsqrt
    Reciprocal Norm LinalgVectorNorm Var VarMean Std StdMean Cos Sin
    """.split()
)
"""Gates themselves, if a signal is multiplied or divided by them. A signal through them is rejected."""

SWITCHES = frozenset("Softmax SafeSoftmax Sigmoid Hardsigmoid".split())
"""Those of them that are gates whatever they multiply, even a constant."""

SUMS_WITH_PRODUCTS = frozenset("Addmm Addbmm Baddbmm Addmv Addcmul Addcdiv SparseAddmm".split())
"""Sums of a first term and a product."""

PRODUCTS = SUMS_WITH_PRODUCTS | frozenset("Mul Div Mm Bmm Mv Dot Matmul Linear".split())
"""Linear in each factor. If several depend on the tokens, one must be a gate."""

SHARES = frozenset("Tanh Sigmoid Hardsigmoid Erf".split())
"""What an activation that is written out multiplies its input by, after shifting and scaling."""

SHIFTS_AND_SCALES = frozenset(
    "View UnsafeView Permute Transpose ToCopy Clone Alias Add Sub Rsub Neg Mul Div".split()
)
"""Given one signal, they change only its shape, scale and offset."""

WEIGHTS = {
    **dict.fromkeys("Convolution ConvolutionOverrideable MkldnnConvolution SlowConv2D ThnnConv2D".split(), 1),
    **dict.fromkeys(("Prelu", "PreluKernel"), 1),
    "Lerp": 2,
}
"""Index of the input at which linear operations take weights. If these depend on the tokens as well, the
operation is no longer linear."""

LINEAR_IN_PLACE = frozenset(
    """
    add_ sub_ neg_ zero_ fill_ copy_ masked_fill_ masked_scatter_ index_add_ index_copy_ index_fill_
    index_put_ scatter_ scatter_add_ relu_ leaky_relu_ threshold_ hardtanh_ clamp_ clamp_min_ clamp_max_
    abs_ detach_
    """.split()
)
"""Operations that may work in place on part of a tensor: autograd hides them in a `CopySlices` node."""


def kind_of(node: Node) -> str:
    """Return the operation of one of torch's own nodes: `Gelu` for `GeluBackward0`.

    Any other node, such as that of a `torch.autograd.Function` called `Gelu`, keeps a name that is not in the
    sets above: torch numbers its own nodes, and nobody else's.
    """
    name: str = node.name()
    return re.sub(r"Backward\d+$", "", name.removeprefix("torch::autograd::"))
