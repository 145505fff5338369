"""What is changed in the images of a step, and how often."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tune_fmnist.data.images import Images, Split
from tune_fmnist.models.config import Ann
from tune_fmnist.training.augmentation import Augmentation
from tune_fmnist.training.device import DeviceImages, to_device
from tune_fmnist.training.fit import fit

CPU = torch.device("cpu")


@pytest.fixture(params=["float32", "bfloat16"])
def images(request: pytest.FixtureRequest, small_split: Split) -> torch.Tensor:
    torch.manual_seed(0)
    return to_device(small_split.train, CPU, request.param).images


def augment(images: torch.Tensor, config: Ann) -> torch.Tensor:
    """Return what a step of a first epoch makes of all images, in another order than they lie in."""
    augmentation = Augmentation(config, images)
    augmentation.begin(1)
    order = torch.randperm(len(images))
    changed = torch.empty_like(images)
    changed[order] = augmentation(images[order], order)
    return changed


def test_each_image_moves_by_itself(images: torch.Tensor) -> None:
    moved = augment(images, Ann(image_shift=2))
    assert (moved.shape, moved.dtype) == (images.shape, images.dtype)
    padded = nn.functional.pad(images, [2] * 4, value=-1.0)
    offsets = [(down, right) for down in range(5) for right in range(5)]
    fits = torch.stack(
        [(padded[:, :, down : down + 28, right : right + 28] == moved).flatten(1).all(1) for down, right in offsets]
    )
    assert fits.any(0).all(), "each is one of the places"
    # An image with empty edges fits several places: of each place there are some that fit no other.
    alone = fits & (fits.sum(0) == 1)
    assert alone.any(1).all(), "all places are taken"


def test_some_images_lose_a_rectangle(images: torch.Tensor) -> None:
    erased = augment(images, Ann(erasing=0.25))
    assert (erased.shape, erased.dtype) == (images.shape, images.dtype)
    changed = (erased != images).squeeze(1)
    hit = changed.flatten(1).any(1)
    assert hit.float().mean().item() == pytest.approx(0.25, abs=0.04)
    greys = set()
    for image, where in zip(erased[hit].squeeze(1), changed[hit], strict=True):
        rows, columns = where.any(1).nonzero(), where.any(0).nonzero()
        inside = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert len(inside.unique()) == 1, "all of a rectangle is of one grey"
        assert inside.numel() <= 28 * 28 * 0.4
        greys.add(inside[0, 0].item())
    assert len(greys) > 50
    assert -1 <= min(greys) < -0.9
    assert 0.9 < max(greys) <= 1
    assert torch.equal(augment(images, Ann(erasing=1e-9)), images)
    whole = augment(images, Ann(erasing=1.0)) != images
    assert whole.flatten(1).any(1).float().mean() > 0.99
    assert 0.1 < whole.float().mean().item() < 0.2, "the mean of 2 and 33 percent, less what was as grey before"


def sides(data: DeviceImages, config: Ann, epochs: int, after: int = 0) -> list[dict[int, bool]]:
    """Return which images were mirrored in each epoch, by their places."""
    known = {image.numpy().tobytes(): (place, False) for place, image in enumerate(data.images)}
    known |= {image.flip(2).numpy().tobytes(): (place, True) for place, image in enumerate(data.images)}
    seen: list[tuple[int, bool]] = []
    noting = nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: seen.extend(known[image.numpy().tobytes()] for image in inputs[0])
    )
    states = []
    try:
        fit(config, data, None, epochs=max(after, 1), horizon=4, seed=3, on_epoch=lambda _, state: states.append(state))
        if after:
            seen.clear()
            fit(config, data, None, epochs=epochs, horizon=4, seed=3, after=after, state=states[-1])
        elif epochs > 1:
            seen.clear()
            fit(config, data, None, epochs=epochs, horizon=4, seed=3)
    finally:
        noting.remove()
    count = len(data.images)
    return [dict(seen[start : start + count]) for start in range(0, len(seen), count)]


def test_an_alternating_flip_shows_each_side_in_every_other_epoch(training: Images) -> None:
    data = to_device(Images(training.images[:300], training.labels[:300], 10), CPU, "float32")
    config = Ann(hidden1=4, hidden2=4, flip=True, alternating_flip=True)
    epochs = sides(data, config, 4)
    assert [len(epoch) for epoch in epochs] == [300] * 4
    assert 0.4 < sum(epochs[0].values()) / 300 < 0.6, "which side comes first is drawn"
    assert epochs[0] == epochs[2]
    assert epochs[1] == epochs[3] == {place: not side for place, side in epochs[0].items()}
    assert sides(data, config, 4, after=1) == epochs[1:], "also after an interruption"
    at_random = sides(data, Ann(hidden1=4, hidden2=4, flip=True), 2)
    assert at_random[1] not in (at_random[0], {place: not side for place, side in at_random[0].items()})
