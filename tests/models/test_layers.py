from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tune_fmnist.models.layers import Dropout, perceptron, pool, pool_relu


def plain_pool_relu(x: Tensor) -> Tensor:
    return functional.relu(plain_pool(x))


def plain_pool(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2)


POOLING = pytest.mark.parametrize(("ours", "theirs"), [(pool_relu, plain_pool_relu), (pool, plain_pool)])
Layer = Callable[[Tensor], Tensor]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(4, 32, 28, 28), (3, 5, 14, 14), (2, 8, 7, 7), (2, 3, 6, 5)])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@POOLING
def test_pooling_is_pytorchs_bit_by_bit(
    ours: Layer, theirs: Layer, dtype: torch.dtype, shape: tuple[int, ...], order: torch.memory_format
) -> None:
    # Small whole numbers, so that many of the four compared are equal.
    x = torch.randint(-3, 4, shape).to(dtype).to(memory_format=order).requires_grad_()
    # The backward pass overwrites what was pooled.
    own, plain = ours(x.clone(memory_format=torch.preserve_format)), theirs(x)
    gradient = torch.randn_like(plain)
    assert torch.equal(own, plain)
    assert torch.equal(torch.autograd.grad(own, x, gradient)[0], torch.autograd.grad(plain, x, gradient)[0])


@POOLING
def test_pooling_passes_a_nan_on(ours: Layer, theirs: Layer) -> None:
    x = torch.zeros(1, 1, 2, 2)
    x[0, 0, 1, 0] = torch.nan
    assert ours(x).isnan().all()


@POOLING
def test_what_was_pooled_is_not_taken_for_its_values_after_the_backward_pass(ours: Layer, theirs: Layer) -> None:
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    both = (pooled := x * 1) ** 2, ours(pooled)
    torch.autograd.grad(both[1].sum(), pooled, retain_graph=True)
    for output in both:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(output.sum(), x, retain_graph=True)


def test_perceptron_is_the_layers_in_turn() -> None:
    layers = [nn.Linear(7, 6), nn.Linear(6, 5), nn.Linear(5, 4)]
    plain = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    x = torch.randn(9, 7, requires_grad=True)
    wanted, output = plain(x), perceptron(x, layers, Dropout(0.0))
    gradient = torch.randn_like(wanted)
    inputs = [x, *plain.parameters()]
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(output, inputs, gradient), torch.autograd.grad(wanted, inputs, gradient)
    )


def test_perceptron_differentiates_through_dropout() -> None:
    layers = [nn.Linear(3, 5).double(), nn.Linear(5, 4).double(), nn.Linear(4, 2).double()]
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)

    def with_the_same_elements_dropped(x: Tensor, *parameters: Tensor) -> Tensor:
        torch.manual_seed(1)
        return perceptron(x, layers, Dropout(0.4))

    assert torch.autograd.gradcheck(with_the_same_elements_dropped, (x, *nn.ModuleList(layers).parameters()))


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(rate)(torch.ones(1000, 1001))
    assert (dropped == 0).float().mean().item() == pytest.approx(rate, abs=0.003)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert dropped.max().item() == pytest.approx(1 / (1 - rate), rel=1e-3)


def test_dropout_draws_anew_for_each_call() -> None:
    dropout, ones = Dropout(0.5), torch.ones(64, 64)
    # Enough calls to use up what was drawn at once, so that the next draw counts too.
    masks = torch.stack([dropout(ones).flatten() for _ in range(100)])
    assert len(torch.unique(masks, dim=0)) == 100


def test_dropout_does_nothing_in_evaluation_or_at_rate_0() -> None:
    x = torch.randn(5, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_dropout_at_the_highest_rate_stays_finite() -> None:
    assert Dropout(0.9999999)(torch.ones(100_000)).isfinite().all()


def test_dropout_draws_anew_when_training_starts_or_ends() -> None:
    dropout, ones = Dropout(0.5), torch.ones(64, 64)

    def drawn() -> Tensor:
        torch.manual_seed(1)
        masked: Tensor = dropout(ones)
        return masked

    first = drawn()
    # Left over from the first draw: elements that the seed does not decide over.
    assert not torch.equal(drawn(), first)
    for change in (dropout.train, lambda: dropout.eval().train(), lambda: nn.Sequential(dropout).eval().train()):
        change()
        assert torch.equal(drawn(), first)
