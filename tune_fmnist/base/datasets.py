"""What a dataset is called and looks like: the known ones by name, and those of users."""

from __future__ import annotations

from typing import Final, NamedTuple


class DataShape(NamedTuple):
    """What a network is built for.

    Attributes:
        input_shape: channels, height and width of an image.
        classes: how many it tells apart.
    """

    input_shape: tuple[int, int, int]
    classes: int


class Dataset(NamedTuple):
    """A known dataset: its name as an option and a column, its title in a text, and its classes in order."""

    name: str
    title: str
    classes: tuple[str, ...]


FASHION_MNIST: Final = Dataset(
    name="fashion-mnist",
    title="Fashion-MNIST",
    classes=(
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
)  # fmt: skip
MNIST: Final = Dataset(name="mnist", title="MNIST", classes=tuple("0123456789"))
KMNIST: Final = Dataset(
    name="kmnist", title="Kuzushiji-MNIST", classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
)

KNOWN: Final[dict[str, Dataset]] = {dataset.name: dataset for dataset in (FASHION_MNIST, MNIST, KMNIST)}
"""The datasets whose files this package knows, by name."""

KNOWN_SHAPE: Final = DataShape((1, 28, 28), 10)
"""Of each of them."""


def title_of(name: str) -> str:
    """Return what a dataset is called in a text; a user's folder is recorded as ``NAME/``, a function by its name."""
    return KNOWN[name].title if name in KNOWN else name.removesuffix("/")
