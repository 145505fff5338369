"""One training step of a network of the user's own, so that what is wrong with it is told before the first trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.importing import blame
from tune_fmnist.data.images import Images
from tune_fmnist.models.networks import build
from tune_fmnist.models.own import OPTION, OwnConfig
from tune_fmnist.training.device import choose_precision, to_device
from tune_fmnist.training.fit import fit, forward


def check(config: OwnConfig, images: Images) -> None:
    """Build a network, train it on one batch and evaluate it, on this machine's processor.

    Args:
        config: of the network.
        images: of which the first batch is taken.

    Raises:
        InputError: the network raises an error, has nothing to train, or does not give logits (n, classes).
    """
    network, size = type(config).network, min(config.batch_size, len(images.labels))
    processor = torch.device("cpu")
    batch = to_device(
        Images(images.images[:size], images.labels[:size], images.classes), processor, choose_precision(processor)
    )
    with _blamed(network, "when it was built"):
        built = build(config, images.shape)
    _check_parameters(built)
    with _blamed(network, f"on images of shape {tuple(batch.images.shape)}"):
        logits = forward(built.to(memory_format=torch.channels_last), batch.images)
    _check_logits(network, logits, (size, images.classes))
    with _blamed(network, "in a training step"):
        # What is saved after it is what a trial would save.
        fitted = fit(config, batch, batch, epochs=1, horizon=1, seed=0)
        for value in fitted.model.state_dict().values():
            value.numpy()


@contextmanager
def _blamed(network: type[nn.Module], when: str) -> Iterator[None]:
    """Turn what the user's code raises into one line."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 -- the user's own code may raise anything
        raise blame(error, network, OPTION, when) from None


def _check_parameters(built: nn.Module) -> None:
    trained = [(name, weight) for name, weight in built.named_parameters() if weight.requires_grad]
    name = type(built).__name__
    if not trained:
        raise InputError(f"{name} has no parameter to train", key=OPTION, hint="give it a layer that has weights")
    for of, weight in trained:
        if weight.dtype != torch.float32:
            what = f"the parameter {of!r} of {name} is {weight.dtype}, not float32"
            raise InputError(what, key=OPTION, hint="leave its type as it is; the precision is chosen for it")


def _check_logits(network: type[nn.Module], logits: Tensor, wanted: tuple[int, int]) -> None:
    if isinstance(logits, Tensor) and tuple(logits.shape) == wanted and logits.is_floating_point():
        if logits.requires_grad:
            return
        what, hint = f"the output of {network.__name__} does not depend on its parameters", "see its forward"
        raise InputError(what, key=OPTION, hint=hint)
    found = f"of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    what = f"{network.__name__} gives {found} for {wanted[0]} images, not logits of shape {wanted}"
    raise InputError(what, key=OPTION, hint=f"let its forward return one number for each of {wanted[1]} classes")
