"""Adam and SGD on weights as one float32 vector, the copy that the model computes with, and the weights' average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tune_fmnist.models.config import Config
from tune_fmnist.models.layers import gradients_of, is_batch_norm

_AVERAGE = "average"
"""The name of the average in a state, and before that of a buffer's average."""


def share_of_average(decay: float, step: int) -> float:
    """Return how much a step's weights count in the moving average up to it, of which a step keeps ``decay``.

    The average is corrected for its beginning as Adam's means are (Kingma & Ba 2015): it is that of the steps so far,
    and the weights before the first one have no part in it.

    Args:
        decay: in (0, 1).
        step: from 1.
    """
    return (1 - decay) / (1 - decay**step)


class _Part(NamedTuple):
    """A stretch of the vectors that is decayed alike."""

    weights: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    momentum: Tensor
    decay: float


class Optimizer:
    """The weights of a model in training, and the steps on them.

    The steps add up in float32.  In bfloat16 the model computes with a rounded copy, made once after each step instead
    of in each layer (Micikevicius et al. 2018, Mixed Precision Training).  One vector makes the optimizer's step one
    call.  PyTorch's optimizers are called by their operators: what is around them costs 0.2 ms per step, a fifth of the
    ANN's, and their first instance imports the compiler, which takes more than a second.

    Args:
        model: whose parameters are to be trained, unless they are frozen; these are views of this object's vectors
            until ``release``.
        config: the optimizer and its settings.
        dtype: the computing type.
        averaged: whether to keep an average of the weights, and of the buffers that are saved with them; as the
            configuration has it if None.
    """

    def __init__(self, model: nn.Module, config: Config, dtype: torch.dtype, averaged: bool | None = None) -> None:
        self._model = model
        self._parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._config = config
        # Those that decay come first in a vector, if not all do.
        spared = [config.spare_biases and parameter.ndim < 2 for parameter in self._parameters]
        self._order = sorted(range(len(spared)), key=spared.__getitem__)
        self._decayed = sum(p.numel() for p, is_spared in zip(self._parameters, spared, strict=True) if not is_spared)
        self._master = torch.empty(sum(p.numel() for p in self._parameters), device=self._parameters[0].device)
        for view, parameter in zip(self._views(self._master), self._parameters, strict=True):
            view.copy_(parameter.detach())
        # A batch norm's parameters have no copy.
        norms = (module for module in model.modules() if is_batch_norm(module))
        uncopied = {id(parameter) for norm in norms for parameter in norm.parameters()}
        self._uncopied = [id(parameter) in uncopied for parameter in self._parameters]
        self._copy = self._master.to(dtype)
        self._bind(self._copy, self._master)
        self._gradient = torch.empty_like(self._master)
        self._gradients = self._views(self._gradient)
        # The optimizer's memory: Adam's means of the gradient and its square, and its count of steps; SGD's momentum.
        self._mean, self._square = torch.zeros_like(self._master), torch.zeros_like(self._master)
        self._steps = torch.zeros((), device=self._master.device)
        self._momentum = torch.zeros_like(self._master)
        self._parts = self._split()
        self._average = torch.zeros_like(self._master) if averaged or (averaged is None and config.average) else None
        self._average_buffers = {} if self._average is None else _averages_of_buffers(model)

    def step(self, output: Tensor, gradient: Tensor, learning_rate: float | Tensor) -> None:
        """Take the optimizer's step, given the loss's gradient with respect to the model's output."""
        torch._foreach_copy_(self._gradients, gradients_of(output, self._parameters, gradient))
        momentum = self._config.momentum
        if self._config.optimizer == "sgd":
            for part in self._parts:
                torch._fused_sgd_(
                    [part.weights],
                    [part.gradient],
                    [part.momentum] if momentum else [],
                    lr=learning_rate,
                    momentum=momentum,
                    weight_decay=part.decay,
                    dampening=0.0,
                    nesterov=self._config.nesterov,
                    maximize=False,
                    is_first_step=False,
                )
        else:
            self._steps.add_(1)
            for part in self._parts:
                torch._fused_adamw_(
                    [part.weights],
                    [part.gradient],
                    [part.mean],
                    [part.square],
                    [],
                    [self._steps],
                    lr=learning_rate,
                    beta1=0.9,
                    beta2=0.999,
                    eps=1e-8,
                    weight_decay=part.decay,
                    amsgrad=False,
                    maximize=False,
                )
        if self._copy is not self._master:
            self._copy.copy_(self._master)

    def average(self, share: float | Tensor) -> None:
        """Let the weights and buffers as they are count with ``share`` in their average, if there is one.

        Args:
            share: what ``share_of_average`` returns, on a GPU as a tensor of it.
        """
        if self._average is None:
            return
        self._average.lerp_(self._master, share)
        for name, average in self._average_buffers.items():
            average.lerp_(self._model.get_buffer(name), share)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model compute with the average, in its computing type, for the block; without one, as it is."""
        if self._average is None:
            yield
            return
        kept = {name: self._model.get_buffer(name).clone() for name in self._average_buffers}
        self._bind(self._average.to(self._copy.dtype), self._average)
        self._set_buffers(self._average_buffers)
        try:
            yield
        finally:
            self._bind(self._copy, self._master)
            self._set_buffers(kept)

    def _set_buffers(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._model.get_buffer(name).copy_(value)

    def state(self) -> dict[str, Tensor]:
        """Return the weights, their average and what the optimizer remembers; they change with the next step."""
        state = {"weights": self._master}
        if self._config.optimizer == "sgd":
            state["momentum"] = self._momentum
        else:
            state |= {"mean": self._mean, "square": self._square, "steps": self._steps}
        if self._average is not None:
            state[_AVERAGE] = self._average
        return state | {f"{_AVERAGE}.{name}": average for name, average in self._average_buffers.items()}

    def restore(self, state: Mapping[str, Tensor | NDArray[Any]]) -> None:
        """Restore what ``state`` returned."""
        for name, tensor in self.state().items():
            value = state[name]
            tensor.copy_(value if isinstance(value, Tensor) else torch.tensor(value))
        if self._copy is not self._master:
            self._copy.copy_(self._master)

    def release(self) -> None:
        """Give the model its float32 weights, which are the averaged ones if there is an average."""
        vector = self._master if self._average is None else self._average
        self._bind(vector, vector)
        self._set_buffers(self._average_buffers)

    def _bind(self, copy: Tensor, master: Tensor) -> None:
        """Let the parameters be views of a copy of a vector, where they have one, else of the vector itself."""
        views = zip(self._views(copy), self._views(master), self._uncopied, self._parameters, strict=True)
        for copied, exact, is_uncopied, parameter in views:
            parameter.data = exact if is_uncopied else copied

    def _views(self, vector: Tensor) -> list[Tensor]:
        """Return each parameter's part of a vector, in the parameter's own order in memory."""
        pieces = torch.split(vector, [self._parameters[place].numel() for place in self._order])
        by_place = dict(zip(self._order, pieces, strict=True))
        return [
            by_place[place].as_strided(parameter.size(), parameter.stride())
            for place, parameter in enumerate(self._parameters)
        ]

    def _split(self) -> list[_Part]:
        """Return what is decayed, and what is not, unless it is nothing."""
        stretches = (slice(0, self._decayed), slice(self._decayed, None))
        parts = [
            _Part(
                self._master[stretch],
                self._gradient[stretch],
                self._mean[stretch],
                self._square[stretch],
                self._momentum[stretch],
                decay,
            )
            for stretch, decay in zip(stretches, (self._config.weight_decay, 0.0), strict=True)
        ]
        return [part for part in parts if part.weights.numel()]


def _averages_of_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return zeros for each buffer that is saved with a model and is not a count, by name."""
    saved = model.state_dict()
    return {
        name: torch.zeros_like(buffer)
        for name, buffer in model.named_buffers()
        if name in saved and buffer.is_floating_point()
    }
