"""A small residual network with batch norm: `python -m tune_fmnist.search --model resnet:ResNet`, in this folder."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn


def convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after))


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(channels, channels), nn.ReLU(), convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.layers(x)).relu()


class ResNet(nn.Module):
    def __init__(
        self,
        width: Annotated[int, Field(ge=8, le=24)] = 16,
        blocks: Annotated[int, Field(ge=1, le=2)] = 1,
        dropout: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1,
        input_shape: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
    ) -> None:
        super().__init__()
        stem = [convolution(input_shape[0], width, stride=2), nn.ReLU(), *(Block(width) for _ in range(blocks))]
        deeper = [convolution(width, 2 * width, stride=2), nn.ReLU(), *(Block(2 * width) for _ in range(blocks))]
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*stem, *deeper, *pooled, nn.Linear(2 * width, classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
