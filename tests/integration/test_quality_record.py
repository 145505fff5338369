"""Recorded curves are those of ``fit``, the average is as described, and what is there is not recorded again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from benchmarks.quality import curves as order
from benchmarks.quality import record
from benchmarks.quality.dataset import merged, schema
from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.base.vocabulary import ModelName
from tune_fmnist.models.config import Ann, config_id
from tune_fmnist.models.networks import build
from tune_fmnist.training.fit import EpochMetrics, fit
from tune_fmnist.tuning.space import CategoricalParameter


@pytest.fixture(scope="module")
def halves() -> record.Halves:
    return record.load_halves(None, 1_000)


@pytest.mark.parametrize("model", ["ann", "cnn"])
def test_a_curve_is_that_of_fit(model: ModelName, halves: record.Halves) -> None:
    curve = order.curves(model, 2, 2)[-1]
    rows = record.record(curve, halves).to_pylist()
    expected: list[EpochMetrics] = []
    fit(
        curve.config,
        halves.train,
        halves.validation,
        epochs=2,
        horizon=2,
        seed=curve.seed,
        on_epoch=lambda result, state: expected.append(result),
    )
    assert [row["train_loss"] for row in rows] == [result.train_loss for result in expected]
    for kind in ("accuracy", "loss"):
        of_all = [(row[f"seen_{kind}"] + row[f"held_{kind}"]) / 2 for row in rows]
        assert of_all == pytest.approx([getattr(result, f"val_{kind}") for result in expected], rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_average_of_the_weights_after_each_step(dtype: torch.dtype) -> None:
    config = Ann(hidden1=4, hidden2=4, dropout=0.0, batch_size=128)
    model = build(config, KNOWN_SHAPE)
    weights = record.AveragedWeights(model, config, dtype)
    taken = []
    for _ in range(5):
        output = model(torch.randn(8, 1, 28, 28, dtype=dtype))
        weights.step(output, torch.randn(8, 10, dtype=dtype), 0.1)
        weights.average(0.0)
        taken.append(weights.state()["weights"].clone())
    assert weights.decay == pytest.approx(0.998**2)
    shares = weights.decay ** torch.arange(4, -1, -1)
    expected = (shares[:, None] * torch.stack(taken)).sum(0) / shares.sum()
    before = [parameter.clone() for parameter in model.parameters()]
    with weights.averaged():
        # Parameters are views in their own order in memory, in which the vector lies.
        inside = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        torch.testing.assert_close(inside, expected.to(dtype))
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_half_of_the_numbers_lie_at_a_bound_in_the_configurations_at_bounds() -> None:
    space = order.space_of("ann")
    listed = order.curves_at_bounds("ann", 96, 27)
    assert {curve.number for curve in listed} == set(range(order.AT_BOUNDS, order.AT_BOUNDS + 96))
    assert order.curves_at_bounds("ann", 0, 27) == []
    configs = [space.values(curve.config) for curve in listed if curve.repeat == 0]
    for name, parameter in space.parameters.items():
        values = [config[name] for config in configs if config is not None]
        assert len(values) == 96
        if not isinstance(parameter, CategoricalParameter):
            shares = [np.mean([value == bound for value in values]) for bound in (parameter.low, parameter.high)]
            assert shares == pytest.approx([0.25, 0.25], abs=0.06)
    others = {config_id(curve.config) for curve in order.curves("ann", 512, 27)}
    assert not others & {config_id(curve.config) for curve in listed}


def test_the_order_begins_with_the_baseline_and_is_fair() -> None:
    space = order.space_of("ann")
    listed = order.curves("ann", 256, 27)
    assert listed[: order.BASELINE_SEEDS] == [order.Curve(0, i, 27, Ann()) for i in range(order.BASELINE_SEEDS)]
    assert listed[:100] == order.curves("ann", 400, 27)[:100]
    assert len({curve.seed for curve in listed}) == len(listed)
    firsts = [curve.config for curve in listed if curve.repeat == 0]
    assert len({config_id(config) for config in firsts}) == 256
    assert all(space.values(config) is not None for config in firsts)
    again = [curve.config for curve in listed if curve.repeat == 1]
    assert len(again) / len(firsts) >= 0.25
    for sample in (firsts[1:], firsts[1:65], again):
        rates = np.log10([config.learning_rate for config in sample])
        assert rates.mean() == pytest.approx(-3, abs=0.15)
        assert sum(config.schedule == "cosine" for config in sample) / len(sample) == pytest.approx(0.5, abs=0.15)


def test_each_half_has_half_of_each_class() -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 7)
    places = record.halved(labels)
    assert sorted(places) == list(range(70))
    seen, held = (np.bincount(labels[half], minlength=10) for half in (places[:35], places[35:]))
    assert np.abs(seen - held).max() == 1


def test_what_is_there_is_not_recorded_again_and_all_becomes_one_table(tmp_path: Path) -> None:
    few = ["--model", "ann", "--at-bounds", "0", "--epochs", "1", "--limit-train", "200", "--folder", str(tmp_path)]
    run = CliRunner().invoke
    assert run(record.app, ["curves", *few, "--configurations", "2"], catch_exceptions=False).exit_code == 0
    first = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    said = run(record.app, ["curves", *few, "--configurations", "3"], catch_exceptions=False).output
    assert "ann-0002-0-01" in said
    assert "ann-0001-0-01" not in said
    assert first.items() <= {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}.items()
    published = tmp_path / "published" / "curves_ann.parquet"
    published.parent.mkdir()
    assert run(record.app, ["merge", *few[:2], *few[-2:], "--out", str(published.parent)]).exit_code == 0
    table = pq.read_table(published)
    assert table.schema.equals(schema("ann"))
    assert set(table["number"].to_pylist()) == {0, 1, 2}
    assert all(math.isfinite(loss) for loss in table["average_held_loss"].to_pylist())
    with pytest.raises(ValueError, match="has no curve of cnn"):
        merged("cnn", tmp_path, tmp_path / "none")


def test_what_is_published_is_kept_without_its_parts(tmp_path: Path) -> None:
    few = ["--model", "ann", "--at-bounds", "0", "--epochs", "1", "--limit-train", "200"]
    published = tmp_path / "curves_ann.parquet"
    for folder, configurations in (("one", "1"), ("other", "2")):
        parts = ["--folder", str(tmp_path / folder)]
        recorded = CliRunner().invoke(record.app, ["curves", *few, *parts, "--configurations", configurations])
        assert recorded.exit_code == 0
        for path in sorted((tmp_path / folder).glob("ann-0000-*.parquet"))[: 2 if folder == "other" else 0]:
            path.unlink()
        table = merged("ann", tmp_path / folder, published)
        pq.write_table(table, published)
    assert set(table["number"].to_pylist()) == {0, 1}
    facts = json.loads(table.schema.metadata[b"facts"])
    assert sum(group["curves"] for group in facts["computed_with"]) == table.num_rows
