"""Models, loaders and epochs as PyTorch's tutorials write them: float32, torchvision, ``DataLoader``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from benchmarks.contenders.job import Job
from tune_fmnist.models.config import Ann, Cnn, Config, to_config

NORMALIZE = [transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]


class Loaders(NamedTuple):
    train: DataLoader[Any]
    validation: DataLoader[Any]


def loaders(job: Job, config: Config) -> Loaders:
    """Return shuffled training batches and validation batches; images are decoded one by one, as they come."""
    split = np.load(job.split)
    flip = [transforms.RandomHorizontalFlip()] if config.flip else []
    train = datasets.FashionMNIST(job.data_root, train=True, transform=transforms.Compose([*flip, *NORMALIZE]))
    validation = datasets.FashionMNIST(job.data_root, train=True, transform=transforms.Compose(NORMALIZE))
    # A slot has one thread: workers of a loader would only take it from the training.
    return Loaders(
        DataLoader(Subset(train, split["train"].tolist()), batch_size=config.batch_size, shuffle=True),
        DataLoader(Subset(validation, split["validation"].tolist()), batch_size=1000),
    )


def build(config: Config) -> nn.Module:
    """Return a model of the same architecture as this project's, of PyTorch's own layers."""
    assert isinstance(config, Ann | Cnn)
    dropout = nn.Dropout(config.dropout)
    if isinstance(config, Ann):
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(28 * 28, config.hidden1), nn.ReLU(), dropout,
            nn.Linear(config.hidden1, config.hidden2), nn.ReLU(), dropout,
            nn.Linear(config.hidden2, 10),
        )  # fmt: skip
    if config.conv3_channels:
        raise ValueError("the contenders' networks have two convolutions")
    return nn.Sequential(
        nn.Conv2d(1, config.conv1_channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(config.conv1_channels, config.conv2_channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), dropout,
        nn.Linear(config.conv2_channels * 7 * 7, config.dense_units), nn.ReLU(), dropout,
        nn.Linear(config.dense_units, 10),
    )  # fmt: skip


class Training:
    """A model in training.

    Args:
        job: the search that it belongs to.
        values: the parameters that were searched.
        seed: of weights, dropout and order.
    """

    def __init__(self, job: Job, values: Mapping[str, Any], seed: int) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        config = to_config({"model": job.model, **values})
        if config.optimizer != "adam" or config.weight_decay or config.shift:
            raise ValueError("the contenders train with Adam and without weight decay or shifts")
        self.loaders = loaders(job, config)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = build(config).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        steps = job.max_epochs * len(self.loaders.train)
        self.schedule = (
            torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps) if config.schedule == "cosine" else None
        )
        self.max_epochs = job.max_epochs

    def epochs(self) -> Iterator[tuple[int, float, float, float]]:
        """Yield each epoch's number, validation accuracy, and the seconds of its training and of its validation."""
        for epoch in range(1, self.max_epochs + 1):
            started = time.perf_counter()
            self._train()
            trained = time.perf_counter()
            accuracy = self._validate()
            yield epoch, accuracy, trained - started, time.perf_counter() - trained

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def _train(self) -> None:
        criterion = nn.CrossEntropyLoss()
        self.model.train()
        for batch in self.loaders.train:
            images, labels = (part.to(self.device) for part in batch)
            self.optimizer.zero_grad()
            loss = criterion(self.model(images), labels)
            loss.backward()
            self.optimizer.step()
            if self.schedule:
                self.schedule.step()

    def _validate(self) -> float:
        self.model.eval()
        correct = total = 0
        with torch.no_grad():
            for batch in self.loaders.validation:
                images, labels = (part.to(self.device) for part in batch)
                correct += (self.model(images).argmax(1) == labels).sum().item()
                total += len(labels)
        return correct / total
