from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.records import make_result
from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.base.vocabulary import Precision
from tune_fmnist.data.images import Images, Split
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.models.networks import build
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.training.augmentation import Augmentation
from tune_fmnist.training.device import DeviceImages, choose_precision, to_device, use_device
from tune_fmnist.training.fit import EpochMetrics, State, fit, predict, score

CPU = torch.device("cpu")
BUILT_IN: list[Config] = [
    Ann(),
    Cnn(conv1_channels=8, conv2_channels=8, dense_units=32, dropout=0.2, learning_rate=3e-3),
]


def on_cpu(images: Images, precision: Precision = "float32") -> DeviceImages:
    return to_device(images, CPU, precision)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def results(config: Config, split: Split, precision: Precision = "float32", **options: int) -> list[EpochMetrics]:
    seen: list[EpochMetrics] = []
    arguments: dict[str, Any] = {"epochs": 1, "horizon": 1, "seed": 0} | options
    fit(
        config,
        on_cpu(split.train, precision),
        on_cpu(split.validation, precision),
        on_epoch=lambda result, state: seen.append(result),
        **arguments,
    )
    return seen


def seeded(seed: int, epoch: int) -> None:
    """Seed PyTorch as an epoch does; epoch 0 draws the weights."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))


def test_pixels_are_scaled_to_minus_1_and_1(small_split: Split) -> None:
    data = on_cpu(small_split.validation)
    assert data.images.shape == (400, 1, 28, 28)
    assert data.images.dtype == torch.float32
    assert (data.images.min().item(), data.images.max().item()) == (-1.0, 1.0)
    assert data.labels.dtype == torch.int64
    assert np.array_equal(data.labels.numpy(), small_split.validation.labels)


@pytest.mark.parametrize("config", BUILT_IN)
def test_a_seed_gives_the_same_weights_whatever_ran_before(config: Config, small_split: Split) -> None:
    data = on_cpu(small_split.train)
    first = weights(fit(config, data, None, epochs=2, horizon=2, seed=7).model)
    other = weights(fit(config, data, None, epochs=1, horizon=2, seed=8).model)
    torch.rand(3)
    again = weights(fit(config, data, None, epochs=2, horizon=2, seed=7).model)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_step_goes_down_the_mean_cross_entropy(small_split: Split) -> None:
    config = Cnn(dropout=0.0, optimizer="sgd", learning_rate=0.5, batch_size=64)
    data = on_cpu(Images(small_split.train.images[:64], small_split.train.labels[:64], 10))
    fitted = fit(config, data, None, epochs=1, horizon=1, seed=3)
    seeded(3, 0)
    model = build(config, KNOWN_SHAPE)
    loss = nn.functional.cross_entropy(model(data.images), data.labels)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert fitted.last.train_loss == pytest.approx(loss.item(), rel=1e-5)
    for trained, fresh, gradient in zip(fitted.model.parameters(), model.parameters(), gradients, strict=True):
        torch.testing.assert_close(trained, fresh - 0.5 * gradient, rtol=1e-4, atol=1e-5)


def test_validation_changes_nothing(small_split: Split) -> None:
    data = on_cpu(small_split.train)
    with_it = fit(Ann(), data, on_cpu(small_split.validation), epochs=2, horizon=2, seed=0)
    without = fit(Ann(), data, None, epochs=2, horizon=2, seed=0)
    assert torch.equal(weights(with_it.model), weights(without.model))
    assert math.isnan(without.last.val_accuracy)


@pytest.mark.parametrize("config", BUILT_IN)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns(config: Config, precision: Precision, small_split: Split) -> None:
    learned = results(config, small_split, precision, epochs=5, horizon=5)
    assert [result.epoch for result in learned] == [1, 2, 3, 4, 5]
    assert learned[-1].val_accuracy > 0.70
    assert learned[-1].train_loss < learned[0].train_loss


def test_both_precisions_agree_roughly(small_split: Split) -> None:
    config = Ann(dropout=0.0, learning_rate=1e-4)
    exact, rounded = (results(config, small_split, precision)[-1] for precision in ("float32", "bfloat16"))
    assert rounded.val_loss == pytest.approx(exact.val_loss, rel=0.02)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_model_comes_back_in_float32_and_in_evaluation(precision: Precision, small_split: Split) -> None:
    data, validation = on_cpu(small_split.train, precision), on_cpu(small_split.validation, precision)
    fitted = fit(Ann(), data, validation, epochs=1, horizon=1, seed=0)
    assert not fitted.model.training
    assert all(parameter.dtype == torch.float32 for parameter in fitted.model.parameters())
    logits = predict(fitted.model, validation)
    assert (logits.shape, logits.dtype) == ((400, 10), torch.float32)
    assert score(logits, validation.labels) == pytest.approx((fitted.last.val_loss, fitted.last.val_accuracy), rel=1e-2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_diverging_trial_ends_within_its_first_epoch(precision: Precision, training: Images) -> None:
    images = on_cpu(Images(training.images[:1600], training.labels[:1600], 10), precision)
    seen: list[EpochMetrics] = []
    config = Ann(learning_rate=1e30, batch_size=4)
    steps: list[nn.Module] = []
    counting = nn.modules.module.register_module_forward_hook(lambda module, *_: steps.append(module))
    try:
        fitted = fit(
            config, images, None, epochs=5, horizon=5, seed=0, on_epoch=lambda result, state: seen.append(result)
        )
    finally:
        counting.remove()
    assert len(steps) < 400
    assert [result.epoch for result in seen] == [1]
    assert seen[0].diverged
    assert fitted.last.diverged


def test_schedules(small_split: Split) -> None:
    constant = results(Ann(learning_rate=1e-3), small_split, epochs=3, horizon=3)
    assert [result.learning_rate for result in constant] == [1e-3] * 3
    cosine = [result.learning_rate for result in results(Ann(schedule="cosine"), small_split, epochs=4, horizon=4)]
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[1] == pytest.approx(5e-4, rel=0.1)
    assert 0.0 <= cosine[-1] < 1e-6


def test_a_schedule_runs_over_the_horizon_not_over_the_epochs_trained(small_split: Split) -> None:
    part = results(Ann(schedule="cosine"), small_split, epochs=2, horizon=4)
    whole = results(Ann(schedule="cosine"), small_split, epochs=4, horizon=4)
    assert [result.train_loss for result in part] == [result.train_loss for result in whole[:2]]


def test_the_horizon_is_at_least_the_epochs(small_split: Split) -> None:
    with pytest.raises(ValueError, match="epochs 0 to 3 are not in"):
        results(Ann(), small_split, epochs=3, horizon=2)


@pytest.mark.parametrize(("after", "epochs"), [(2, 2), (3, 2), (-1, 2), (0, 0)])
def test_a_training_goes_on_for_an_epoch_at_least(after: int, epochs: int, small_split: Split) -> None:
    with pytest.raises(ValueError, match=f"epochs {after} to {epochs} are not in"):
        results(Ann(), small_split, after=after, epochs=epochs, horizon=3)


class CutOffError(Exception):
    """The process is lost."""


SMALL: list[Config] = [
    Ann(hidden1=32, hidden2=16, weight_decay=0.01, flip=True, shift=2, schedule="cosine"),
    Cnn(conv1_channels=4, conv2_channels=4, dense_units=16, flip=True, shift=2, schedule="cosine"),
]
SGD = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.02}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", [*SMALL, *(config.model_copy(update=SGD) for config in SMALL)])
def test_a_training_cut_off_after_any_epoch_goes_on_to_the_bit(
    config: Config, precision: Precision, training: Images, tmp_path: Path
) -> None:
    # 300 images: the last batch is a part of one.
    train, validation = (
        on_cpu(Images(training.images[part], training.labels[part], 10), precision)
        for part in (slice(300), slice(300, 400))
    )

    def trained(checkpoints: Checkpoints, lost_after: int | None = None) -> tuple[list[EpochMetrics], torch.Tensor]:
        saved = checkpoints.newest()
        seen: list[EpochMetrics] = []

        def on_epoch(result: EpochMetrics, state: State) -> None:
            seen.append(result._replace(train_seconds=0.0, eval_seconds=0.0))
            checkpoints.save(state, [make_result(result.epoch)])
            if result.epoch == lost_after:
                raise CutOffError

        fitted = fit(
            config,
            train,
            validation,
            epochs=4,
            horizon=5,
            seed=5,
            on_epoch=on_epoch,
            after=saved.history[-1].epoch if saved else 0,
            state=saved.arrays() if saved else None,
        )
        return seen, weights(fitted.model)

    whole, wanted = trained(Checkpoints(tmp_path, 0))
    assert [result.epoch for result in whole] == [1, 2, 3, 4]
    for epoch in (1, 2, 3):
        with pytest.raises(CutOffError):
            trained(Checkpoints(tmp_path, epoch), lost_after=epoch)
        torch.rand(epoch)
        rest, got = trained(Checkpoints(tmp_path, epoch))
        assert rest == whole[epoch:]
        assert torch.equal(got, wanted)


def orders(seed: int, data: DeviceImages, epochs: int) -> list[tuple[int, ...]]:
    """Return the places of the images in the order in which each epoch trains on them."""
    place = {image.numpy().tobytes(): index for index, image in enumerate(data.images)}
    assert len(place) == len(data.images)
    trained_on: list[int] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        trained_on.extend(place[image.numpy().tobytes()] for image in inputs[0])

    noting = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        fit(Ann(hidden1=4, hidden2=4), data, None, epochs=epochs, horizon=epochs, seed=seed)
    finally:
        noting.remove()
    count = len(data.images)
    assert len(trained_on) == epochs * count
    return [tuple(trained_on[start : start + count]) for start in range(0, len(trained_on), count)]


def test_each_epoch_of_each_seed_has_an_order_of_its_own(training: Images) -> None:
    data = on_cpu(Images(training.images[:200], training.labels[:200], 10))
    # Equal in their low 16 bits, and next to each other: epoch 2 of a seed is not epoch 1 of the next.
    seeds = [7, 7 + 2**16, 7 + 2**31, 2**32 - 1, 8]
    seen = [order for seed in seeds for order in orders(seed, data, 3)]
    assert all(sorted(order) == list(range(200)) for order in seen), "each image once an epoch"
    assert len(set(seen)) == len(seen) == 3 * len(seeds)
    assert orders(7, data, 3) == seen[:3]


def test_seeds_equal_in_their_low_bits_draw_other_weights(training: Images) -> None:
    data = on_cpu(Images(training.images[:4], training.labels[:4], 10))
    drawn = [
        weights(fit(Ann(learning_rate=1e-12), data, None, epochs=1, horizon=1, seed=seed).model)
        for seed in (7, 7 + 2**16, 7 + 2**31)
    ]
    for first, second in combinations(drawn, 2):
        assert (first - second).abs().mean() > 0.01


def test_augmentation_mirrors_half_of_the_images_and_moves_them(small_split: Split) -> None:
    images = on_cpu(small_split.train).images
    torch.manual_seed(0)
    places = torch.arange(len(images))
    mirrored = Augmentation(Ann(flip=True), images)(images, places)
    same = (mirrored == images).flatten(1).all(1)
    flipped = (mirrored == images.flip(3)).flatten(1).all(1)
    assert (same | flipped).all()
    assert flipped.float().mean().item() == pytest.approx(0.5, abs=0.05)
    shifts = {_shift_of(Augmentation(Ann(shift=2), images)(images, places), images) for _ in range(60)}
    assert len(shifts) > 15
    assert all(abs(down) <= 2 and abs(right) <= 2 for down, right in shifts)


def _shift_of(moved: torch.Tensor, images: torch.Tensor) -> tuple[int, int]:
    """Return by how many pixels (down, right) a batch was moved; what came in from the edge is black."""
    assert moved.shape == images.shape
    padded = nn.functional.pad(images, [2] * 4, value=-1.0)
    return next(
        (2 - down, 2 - right)
        for down in range(5)
        for right in range(5)
        if torch.equal(padded[:, :, down : down + 28, right : right + 28], moved)
    )


def test_augmentation_takes_part_in_training(small_split: Split) -> None:
    data = on_cpu(small_split.train)
    plain, flipped, moved = (
        weights(fit(config, data, None, epochs=1, horizon=1, seed=0).model)
        for config in (Ann(), Ann(flip=True), Ann(shift=2))
    )
    assert not torch.equal(plain, flipped)
    assert not torch.equal(plain, moved)


def test_scores_are_the_mean_loss_and_the_share_of_hits() -> None:
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [0.0, 9.0]])
    loss, accuracy = score(logits, torch.tensor([0, 1, 0, 0]))
    assert accuracy == 0.75
    assert loss == pytest.approx((4 * math.log1p(math.exp(-9)) + 9) / 4)


def test_precision_follows_the_hardware() -> None:
    flags = Path("/proc/cpuinfo").read_text()
    assert choose_precision(CPU) == ("bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32")


def test_a_process_trains_with_its_threads_in_the_precision_of_its_hardware() -> None:
    assert use_device(gpu=False, threads=2) == (CPU, choose_precision(CPU))
    assert torch.get_num_threads() == 2


def test_a_gpu_is_told_to_sum_in_the_same_way_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    use_device(gpu=False, threads=1)
    assert not torch.backends.cudnn.deterministic
    use_device(gpu=True, threads=1)
    assert torch.backends.cudnn.deterministic
