"""Configurations, the networks that are built from them, and saved models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tune_fmnist.models.own import of_network

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load"]


def load(folder: Path | str, network: type[nn.Module] | None = None) -> nn.Module:
    """Return the model saved in ``folder`` (a search's ``best/``), in evaluation mode.

    It takes images (n, channels, height, width) float32 scaled to (-1, 1), and gives logits (n, classes).  Nothing in
    the folder is run as code.

    Args:
        folder: that of the model.
        network: the class of a network of one's own; no file makes this program import it.

    Raises:
        InputError: the class is not the model's, a file is missing, cannot be read, or is of another format.
    """
    # Commands that train nothing start without Torch, which takes two seconds to import.
    from tune_fmnist.models.networks import load_trained

    if network is not None:
        of_network(network)
    return load_trained(Path(folder))
