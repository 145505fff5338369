"""Where images come from: the one place that tells a known dataset, a folder and a function apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tune_fmnist.base.datasets import FASHION_MNIST, KNOWN
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.importing import given_as_itself, imported, is_given, is_own_name
from tune_fmnist.data.images import Images
from tune_fmnist.data.known import KnownFiles, locate_known
from tune_fmnist.data.own import OPTION, OwnFolder, OwnFunction

Source = KnownFiles | OwnFolder | OwnFunction


def locate(
    dataset: str = FASHION_MNIST.name, data_root: Path | None = None, say: Callable[[str], None] = print
) -> Source:
    """Return where the images of a dataset are; those of a known one are found or fetched.

    Args:
        dataset: the name of a known one, a folder, or ``MODULE:FUNCTION``, whose module is imported.
        data_root: the user's ``--data-root``, for a known one.
        say: told in one line what was chosen.

    Raises:
        InputError: as ``locate_known`` and ``imported`` do, or there is a ``data_root`` for the user's own images.
    """
    if dataset in KNOWN:
        return locate_known(dataset, data_root, say)
    if data_root is not None:
        hint = f"leave it out: {OPTION} says where they are"
        raise InputError(f"{dataset!r} is a dataset of your own", key="--data-root", hint=hint)
    if is_given(dataset) or (is_own_name(dataset) and not Path(dataset).exists()):
        load = imported(dataset, OPTION)
        if not callable(load):
            raise InputError(f"{dataset!r} is not a function", key=OPTION, hint="name one that takes 'train' or 'test'")
        return OwnFunction(load)
    return OwnFolder(Path(dataset))


def name_given(dataset: str | Path | Callable[[str], Any] | None) -> str | None:
    """Return the name of a dataset that is given by its name, as a folder, or as a function."""
    if dataset is None or isinstance(dataset, str | Path):
        return None if dataset is None else str(dataset)
    return given_as_itself(dataset)


def class_names(source: Source, images: Images) -> tuple[str, ...]:
    """Return the names of a dataset's classes in order; numbers where nobody named them."""
    if isinstance(source, KnownFiles):
        return KNOWN[source.dataset].classes
    return source.names or tuple(map(str, range(images.classes)))
