"""Training on a GPU: the captured step, what is resident, and a search that shares the device between trials."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tune_fmnist.data.images import Split
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.training import fit as training
from tune_fmnist.training.cuda_graph import nothing_collected
from tune_fmnist.training.device import choose_precision, to_device, use_device
from tune_fmnist.training.fit import EpochMetrics, State, fit
from tune_fmnist.workflow.retrain import retrain
from tune_fmnist.workflow.search import search

GPU = torch.device("cuda")
CONFIGS: list[Config] = [
    Ann(dropout=0.2),
    Cnn(dropout=0.3, flip=True, batch_size=60, schedule="cosine"),
    Ann(flip=True, alternating_flip=True, image_shift=1, erasing=0.25, average=0.5, label_smoothing=0.1, mirror=True),
    Cnn(convolutions=2, batch_norm=True, residual=True, head="max", dropout=0.1, average=0.5),
]


def trained(config: Config, split: Split, epochs: int = 4) -> list[EpochMetrics]:
    seen: list[EpochMetrics] = []
    device, precision = use_device(gpu=True, threads=1)
    train, validation = (to_device(part, device, precision) for part in (split.train, split.validation))
    fit(
        config,
        train,
        validation,
        epochs=epochs,
        horizon=4,
        seed=1,
        on_epoch=lambda metrics, state: seen.append(metrics),
    )
    return seen


def test_the_precision_is_what_the_hardware_multiplies() -> None:
    major, _ = torch.cuda.get_device_capability()
    assert choose_precision(GPU) == ("bfloat16" if major >= 8 else "float32")


@pytest.mark.parametrize("config", CONFIGS)
def test_a_captured_step_trains_as_single_steps_do(
    config: Config, small_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = trained(config, small_split)
    monkeypatch.setattr(training, "_can_be_captured", lambda config, device: False)
    single = trained(config, small_split)
    # The same numbers are drawn; sums may be taken in another order.
    for one, other in zip(captured, single, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=0.02)
        assert one.val_accuracy == pytest.approx(other.val_accuracy, abs=0.03)
        assert one.learning_rate == other.learning_rate


@pytest.mark.parametrize("config", CONFIGS)
def test_a_seed_gives_the_same_result_whatever_ran_before(config: Config, small_split: Split) -> None:
    first = trained(config, small_split)
    trained(CONFIGS[1] if config.model == "ann" else CONFIGS[0], small_split, epochs=1)
    again = trained(config, small_split)
    assert [metrics.train_loss for metrics in again] == pytest.approx(
        [metrics.train_loss for metrics in first], rel=0.01
    )


def test_a_training_goes_on_from_its_state(small_split: Split) -> None:
    config, saved = Ann(dropout=0.2), {}
    train = to_device(small_split.train, GPU, choose_precision(GPU))

    def keep(metrics: EpochMetrics, state: State) -> None:
        saved[metrics.epoch] = {name: tensor.clone() for name, tensor in state.items()}

    whole = fit(config, train, None, epochs=4, horizon=4, seed=1, on_epoch=keep)
    rest = fit(config, train, None, epochs=4, horizon=4, seed=1, after=2, state=saved[2])
    assert rest.last.train_loss == pytest.approx(whole.last.train_loss, rel=0.02)


def test_it_learns_what_the_processor_learns(small_split: Split) -> None:
    processor = torch.device("cpu")
    train, validation = (to_device(part, processor, "float32") for part in (small_split.train, small_split.validation))
    expected = fit(Ann(), train, validation, epochs=4, horizon=4, seed=1).last.val_accuracy
    assert trained(Ann(), small_split)[-1].val_accuracy == pytest.approx(expected, abs=0.05)


def test_trials_leave_no_memory_behind(small_split: Split) -> None:
    trained(CONFIGS[1], small_split, epochs=2)
    sizes = []
    with nothing_collected():
        for _ in range(4):
            trained(CONFIGS[1], small_split, epochs=2)
            torch.cuda.empty_cache()
            sizes.append(torch.cuda.memory_reserved())
    assert sizes[-1] <= sizes[0]


def test_a_lost_training_ends_early(small_split: Split) -> None:
    (only,) = trained(Ann(learning_rate=1e30, batch_size=4), small_split)
    assert only.diverged


def test_a_search_shares_the_gpu_as_measured(tmp_path: Path) -> None:
    results = search(
        "ann", trials=6, max_epochs=3, limit_train=6000, top_k=1, retrain_seeds=1, results_dir=tmp_path, name="x"
    )
    assert set(results.trials["device"]) == {"cuda"}
    measured, placement = results.record.gpu_sharing, results.record.placement
    assert measured is not None
    assert placement is not None
    assert placement.gpus == 1 / measured["trials"]
    assert placement.slots >= measured["trials"] * torch.cuda.device_count()
    assert measured["images_per_second"]["1"] > 10_000
    assert 0 < measured["bytes_per_trial"] < measured["bytes"]
    assert len(results.retrains) == 2
    again = retrain(tmp_path / "x", retrain_seeds=2)
    assert again.record.gpu_sharing == measured
