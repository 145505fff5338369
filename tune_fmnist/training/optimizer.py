"""Adam and SGD on a model's weights as one float32 vector, and the copy that the model computes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tune_fmnist.models.config import Config
from tune_fmnist.models.layers import gradients_of


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
    """

    def __init__(self, model: nn.Module, config: Config, dtype: torch.dtype) -> None:
        self._parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._config = config
        self._master = torch.empty(sum(p.numel() for p in self._parameters), device=self._parameters[0].device)
        for view, parameter in zip(self._views(self._master), self._parameters, strict=True):
            view.copy_(parameter.detach())
        self._copy = self._master.to(dtype)
        self._bind(self._copy)
        self._gradient = torch.empty_like(self._master)
        self._gradients = self._views(self._gradient)
        # The optimizer's memory: Adam's means of the gradient and its square, and its count of steps; SGD's momentum.
        self._mean, self._square = torch.zeros_like(self._master), torch.zeros_like(self._master)
        self._steps = torch.zeros((), device=self._master.device)
        self._momentum = torch.zeros_like(self._master)

    def step(self, output: Tensor, gradient: Tensor, learning_rate: float | Tensor) -> None:
        """Take the optimizer's step, given the loss's gradient with respect to the model's output."""
        torch._foreach_copy_(self._gradients, gradients_of(output, self._parameters, gradient))
        decay, momentum = self._config.weight_decay, self._config.momentum
        if self._config.optimizer == "sgd":
            torch._fused_sgd_(
                [self._master],
                [self._gradient],
                [self._momentum] if momentum else [],
                lr=learning_rate,
                momentum=momentum,
                weight_decay=decay,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )
        else:
            torch._fused_adamw_(
                [self._master],
                [self._gradient],
                [self._mean],
                [self._square],
                [],
                [self._steps.add_(1)],
                lr=learning_rate,
                beta1=0.9,
                beta2=0.999,
                eps=1e-8,
                weight_decay=decay,
                amsgrad=False,
                maximize=False,
            )
        if self._copy is not self._master:
            self._copy.copy_(self._master)

    def state(self) -> dict[str, Tensor]:
        """Return the weights and what the optimizer remembers; they change with the next step."""
        if self._config.optimizer == "sgd":
            return {"weights": self._master, "momentum": self._momentum}
        return {"weights": self._master, "mean": self._mean, "square": self._square, "steps": self._steps}

    def restore(self, state: Mapping[str, Tensor | NDArray[Any]]) -> None:
        """Restore what ``state`` returned."""
        for name, tensor in self.state().items():
            value = state[name]
            tensor.copy_(value if isinstance(value, Tensor) else torch.tensor(value))
        if self._copy is not self._master:
            self._copy.copy_(self._master)

    def release(self) -> None:
        """Give the model its float32 weights."""
        self._bind(self._master)

    def _bind(self, vector: Tensor) -> None:
        for view, parameter in zip(self._views(vector), self._parameters, strict=True):
            parameter.data = view

    def _views(self, vector: Tensor) -> list[Tensor]:
        """Return each parameter's part of a vector, in the parameter's own order in memory."""
        pieces = torch.split(vector, [parameter.numel() for parameter in self._parameters])
        return [
            piece.as_strided(parameter.size(), parameter.stride())
            for piece, parameter in zip(pieces, self._parameters, strict=True)
        ]
