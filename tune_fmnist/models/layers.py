"""Layers that PyTorch has, made cheap on a processor: max pooling with ReLU, dropout, and a perceptron of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def pool_relu(x: Tensor) -> Tensor:
    """Return ``relu(max_pool2d(x, 2))`` of (n, c, height, width), bfloat16 or float32, with the same gradient.

    Four values are compared as two pairs of strided views, and each view's gradient is written once: no indices, no
    zeroing, a quarter of the time.  Of equal values the first in reading order gets the gradient, as in PyTorch.  The
    backward pass overwrites ``x`` with its gradient, so that nothing else may need its values: memory that was just
    read is written in a fraction of the time.  On a GPU PyTorch's own are fewer launches.
    """
    if x.device.type != "cpu":
        return functional.max_pool2d(x, 2).relu()
    pooled: Tensor = _PoolRelu.apply(x)
    return pooled


def pool(x: Tensor) -> Tensor:
    """Return ``max_pool2d(x, 2)``, otherwise as ``pool_relu``; ``x`` is overwritten in the backward pass as well."""
    if x.device.type != "cpu":
        return functional.max_pool2d(x, 2)
    pooled: Tensor = _Pool.apply(x)
    return pooled


def in_channels_last(images: Tensor) -> Tensor:
    """Return images (n, channels, height, width) whose strides say that the channels come last.

    For one channel PyTorch would choose the other order, which is slower.
    """
    count, colours, height, width = images.shape
    return images.reshape(count, height, width, 1).permute(0, 3, 1, 2) if colours == 1 else images


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether a layer normalises over the batch."""
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)


class Dropout(nn.Module):
    """Zero each element with probability ``rate`` (0 to 1, rounded to 1/65536) and scale the others to keep the mean.

    On a processor PyTorch draws one number per element and step; here one 64-bit number decides over four elements, and
    small layers draw for many steps at once.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self._drawn = torch.empty(0)

    def train(self, mode: bool = True) -> Self:
        """Start or end training; what was drawn and not used is dropped, so that each epoch draws its own."""
        self._drawn = torch.empty(0)
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        factors = self.factors(x.shape, x)
        return x if factors is None else x * factors

    def factors(self, shape: torch.Size, like: Tensor) -> Tensor | None:
        """Return what to multiply a tensor of ``shape`` with, on the device and in the type of ``like``.

        None stands for ones: outside of training, and without dropout.
        """
        if not self.training or self.rate == 0.0:
            return None
        if like.device.type != "cpu":
            return functional.dropout(like.new_ones(shape), self.rate)
        count = shape.numel()
        if len(self._drawn) < count:
            self._drawn = _draw_factors(max(count, _DRAW), self.rate, like.dtype)
        factors, self._drawn = self._drawn[:count], self._drawn[count:]
        return factors.view(shape)


def perceptron(x: Tensor, layers: Sequence[nn.Linear], dropout: Dropout) -> Tensor:
    """Return ``layers`` applied in turn to x (n, features), with ReLU and dropout between them.

    The layers are one step for autograd, which costs small ones more time than their arithmetic.
    """
    factors = [dropout.factors(torch.Size((len(x), layer.out_features)), x) for layer in layers[:-1]]
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    output: Tensor = _Perceptron.apply(x, factors, *parameters)
    return output


def gradients_of(output: Tensor, parameters: list[Tensor], gradient: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of ``parameters``, given that of the loss with respect to a model's ``output``.

    Where ``perceptron`` is the whole model, its backward pass is called directly: autograd's engine takes a tenth of
    the ANN's step.
    """
    node: Any = output.grad_fn
    if getattr(node, "_forward_cls", None) is _Perceptron and not node.needs_input_grad[0]:
        gradients: tuple[Tensor, ...] = node.apply(gradient)[2:]
        return gradients
    # A parameter that had no part in the output has a gradient of zeros.
    return torch.autograd.grad(output, parameters, gradient, allow_unused=True, materialize_grads=True)


_DRAW = 1 << 18
"""Elements that dropout draws for at least, half a megabyte: it stays in the processor's cache."""


def _draw_factors(count: int, rate: float, dtype: torch.dtype) -> Tensor:
    zeroed = min(round(rate * 65536), 65535)
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16).ge_(zeroed - 32768)
    factor = torch.tensor(65536 / (65536 - zeroed), dtype=dtype)
    if dtype == torch.bfloat16:
        # The bits of the factor, or none: integers are multiplied in place, in half the time of a conversion.
        return kept.mul_(factor.view(torch.int16)).view(dtype)
    return kept.to(dtype).mul_(factor)


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: list[Tensor | None], *parameters: Tensor) -> Tensor:
        weights, biases = parameters[::2], parameters[1::2]
        inputs = [x]
        for weight, bias, factor in zip(weights, biases, factors, strict=False):
            hidden = functional.linear(inputs[-1], weight, bias).relu_()
            inputs.append(hidden if factor is None else hidden.mul_(factor))
        ctx.save_for_backward(*inputs, *weights, *factors)
        return functional.linear(inputs[-1], weights[-1], biases[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.saved_tensors) // 3 + 1
        inputs, weights = ctx.saved_tensors[:layers], ctx.saved_tensors[layers : 2 * layers]
        factors = ctx.saved_tensors[2 * layers :]
        gradients: list[Tensor] = []
        for layer in range(layers - 1, 0, -1):
            gradients[:0] = gradient.t() @ inputs[layer], gradient.sum(0)
            # What ReLU or dropout zeroed passes no gradient, and all else is above 0.
            gradient = (gradient @ weights[layer]).mul_(inputs[layer].sign())
            if factors[layer - 1] is not None:
                gradient.mul_(factors[layer - 1])
        gradients[:0] = gradient.t() @ inputs[0], gradient.sum(0)
        return gradient @ weights[0] if ctx.needs_input_grad[0] else None, None, *gradients


class _PoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        columns = torch.maximum(*_pairs(x, 3))
        pooled = torch.maximum(*_pairs(columns, 2)).clamp_min_(0)
        ctx.save_for_backward(x, columns, pooled)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, columns, pooled = ctx.saved_tensors
        # As integers the bits of floats compare alike from 0 on, and three times as fast; below 0, where they do not,
        # ReLU lets no gradient through.  The forward pass takes the floats: of integers a NaN may be the smaller one.
        bits = {torch.bfloat16: torch.int16, torch.float32: torch.int32}[x.dtype]
        passed = pooled.view(bits).sign().mul_(gradient.view(bits))
        spread: Tensor = x.detach()
        _to_larger(_to_larger(passed, columns.view(bits), 2), spread.view(bits), 3)
        return spread


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        columns = torch.maximum(*_pairs(x, 3))
        ctx.save_for_backward(x, columns)
        return torch.maximum(*_pairs(columns, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, columns = ctx.saved_tensors
        spread: Tensor = x.detach()
        _to_larger(_to_larger(gradient, columns, 2), spread, 3)
        return spread


def _pairs(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the elements of even and of odd index along ``dim``; a last one without a partner is left out."""
    pairs = x.size(dim) // 2
    first, second = torch.unflatten(x.narrow(dim, 0, 2 * pairs), dim, (pairs, 2)).unbind(dim + 1)
    return first, second


def _to_larger(gradient: Tensor, x: Tensor, dim: int) -> Tensor:
    """Overwrite ``x`` with the gradient: each goes to the larger of its pair along ``dim``, the first of equal ones."""
    first, second = _pairs(x, dim)
    is_first = torch.ge(first, second, out=torch.empty_like(gradient))
    torch.mul(gradient, is_first, out=first)
    torch.sub(gradient, first, out=second)
    if x.size(dim) % 2:
        x.select(dim, -1).zero_()
    return x
