"""The images of a search: those that it is begun with, and proof that a later command has the same ones."""

from __future__ import annotations

from pathlib import Path

from tune_fmnist import data
from tune_fmnist.base.datasets import FASHION_MNIST, KNOWN
from tune_fmnist.base.errors import InputError
from tune_fmnist.data.own import OPTION, hash_of
from tune_fmnist.models.config import baseline
from tune_fmnist.models.own import OwnConfig
from tune_fmnist.reporting.screen import Screen
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.workflow.options import Options


def images_of(options: Options, limit: int | None, seed: int, screen: Screen) -> tuple[data.Source, data.Images]:
    """Return where the images of a new search are, and all or ``limit`` of its training images.

    Raises:
        InputError: they are not there, cannot be read, or cannot be searched.
    """
    source = data.locate(options.dataset or FASHION_MNIST.name, options.data_root, screen.progress.print)
    return source, data.limited(source.read_training(), limit, seed)


def same_images(
    options: Options, record: SearchRecord, file: Path, screen: Screen
) -> tuple[data.Source, data.Images, data.Split]:
    """Return the images that a recorded search ran on, of whose dataset the options must name what is the user's own.

    Args:
        options: what is asked for now.
        record: of the search.
        file: where the record lies.
        screen: where progress goes.

    Raises:
        InputError: the options name another dataset or none, or the images are others now.
    """
    source = _same_source(options, record, file, screen)
    images = data.limited(source.read_training(), record.limit_train, record.images_seed)
    split = data.split(images, record.images_seed)
    if split.hash != record.split_hash:
        what = f"{record.split_hash!r} is not the {split.hash!r} of {source.place}"
        hint = "give the images it ran on" if record.has_own_images else "give the --data-root it ran on"
        raise InputError(what, file=file, key="split_hash", hint=hint)
    return source, images, split


def prove_test(source: data.Source, images: data.Images, record: SearchRecord, file: Path) -> None:
    """Prove the test part, which nobody looks at before a model is tested, as far as it can be proven now.

    Raises:
        InputError: it is missing, cannot be read, or is not what it was.
    """
    check_test_hash(source.test_hash(images.shape), record, file)


def check_test(sealed: data.Images, record: SearchRecord, file: Path) -> None:
    """Prove the test images, when they are read, to be those of the search; errors as of ``prove_test``."""
    if record.has_own_images:
        check_test_hash(hash_of(sealed), record, file)


def check_test_hash(found: str | None, record: SearchRecord, file: Path) -> None:
    """Compare the hash of the test part with the search's, or put it into its record if there was none."""
    if found is None:
        return
    if record.test_hash not in (None, found):
        what = f"{record.test_hash!r} is not the {found!r} of the test images now"
        raise InputError(what, file=file, key="test_hash", hint="restore the test images it began with")
    record.test_hash = found


def try_network(model: str, split: data.Split) -> None:
    """Train a network of the user's own for one step; errors as of ``first_step.check``."""
    config = baseline(model)
    if isinstance(config, OwnConfig):
        # Torch takes two seconds to import, and is there already where there is such a network.
        from tune_fmnist.training import first_step

        first_step.check(config, split.train)


def _same_source(options: Options, record: SearchRecord, file: Path, screen: Screen) -> data.Source:
    given = options.dataset
    if given is None and record.has_own_images:
        what = f"missing: the search is one on {record.dataset}, which is the user's own"
        raise InputError(what, file=file, key=OPTION, hint=f"give {OPTION} {record.dataset} again")
    dataset = given or record.dataset
    if dataset != record.dataset and (dataset in KNOWN or not record.has_own_images):
        raise _contradiction(dataset, record, file)
    source = data.locate(dataset, options.data_root, screen.progress.print)
    if source.dataset != record.dataset:
        raise _contradiction(source.dataset, record, file)
    return source


def _contradiction(given: str, record: SearchRecord, file: Path) -> InputError:
    what = f"{given!r} is not the search's {record.dataset!r}"
    return InputError(what, file=file, key=OPTION, hint="leave it out, or begin a new search")
