"""How large a network is, without training it: its parameters, and the multiplications that an image takes."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.models.config import BUILT_IN, Config
from tune_fmnist.models.networks import build

_IMAGES: Final = 2
"""Images in the pass that is counted: a network of a user's may take one for none."""

_CONVOLUTIONS: Final = frozenset({functional.conv1d, functional.conv2d, functional.conv3d})
_PRODUCTS: Final = frozenset({torch.matmul, torch.mm, torch.bmm, torch.Tensor.matmul, torch.Tensor.__matmul__})


def parameters(config: Config, shape: DataShape) -> int:
    """Return how many parameters are trained in a network of ``config`` for images of ``shape``."""
    # The networks of this package need no memory for it; those of users may not go without.
    where = "meta" if config.model in BUILT_IN else "cpu"
    with torch.device(where):
        network = build(config, shape)
    return _trained(network)


def multiply_adds(config: Config, shape: DataShape) -> int:
    """Return the multiply-adds of the linear layers, convolutions and matrix products for an image, forward."""
    network = build(config, shape).eval()
    counted = _Counting()
    with counted, torch.no_grad():
        network(torch.zeros(_IMAGES, *shape.input_shape))
    return counted.multiply_adds // _IMAGES


def _trained(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


class _Counting(TorchFunctionMode):
    """Counts what is called in its block.  PyTorch's own counter takes three seconds to import what it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds: int = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is functional.linear:
            self.multiply_adds += output.numel() * args[0].shape[-1]
        elif func in _CONVOLUTIONS:
            self.multiply_adds += output.numel() * args[1][0].numel()
        elif func in _PRODUCTS:
            self.multiply_adds += output.numel() * args[0].shape[-1]
        return output
