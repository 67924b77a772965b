"""Chunked cross-entropy equals the plain one, in value and gradient, and does not hold all logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trainers import losses
from trainers.losses import IGNORE, token_nll, token_values


def inputs(t: int = 50, h: int = 16, v: int = 97, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(t, h, generator=g, dtype=torch.float32).requires_grad_()
    weight = torch.randn(v, h, generator=g).requires_grad_()
    labels = torch.randint(0, v, (t,), generator=g)
    labels[torch.rand(t, generator=g) < 0.4] = IGNORE
    return hidden, weight, labels


@pytest.mark.parametrize("keep", [0, losses.KEEP])
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_equals_cross_entropy(chunk: int, keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "KEEP", keep)
    hidden, weight, labels = inputs()
    weights = torch.rand(len(labels))
    plain = F.cross_entropy(hidden @ weight.t(), labels, ignore_index=IGNORE, reduction="none")
    want = torch.autograd.grad((plain * weights).sum(), (hidden, weight))
    nll = token_nll(hidden, weight, labels, chunk=chunk)
    got = torch.autograd.grad((nll * weights).sum(), (hidden, weight))
    assert (nll - plain).abs().max() < 1e-5
    assert nll[labels == IGNORE].abs().sum() == 0
    for a, b in zip(got, want):
        assert (a - b).abs().max() < 1e-5


@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.5])
@pytest.mark.parametrize("keep", [0, losses.KEEP])
def test_the_entropy_is_that_of_the_distribution(keep: int, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "KEEP", keep)
    hidden, weight, labels = inputs()
    with torch.no_grad():
        hidden[:5] *= 100  # nearly certain: p log p of what has no probability left is 0
    weights = torch.rand(2, len(labels)) * (labels != IGNORE)
    logp = F.log_softmax(hidden @ weight.t() / temperature, -1)
    plain = torch.stack([-logp.gather(1, labels.clamp(min=0)[:, None])[:, 0], -(logp.exp() * logp).sum(-1)])
    want = torch.autograd.grad((plain * weights).sum(), (hidden, weight))
    values = token_values(hidden, weight, labels, chunk=7, entropy=True, temperature=temperature)
    got = torch.autograd.grad((values * weights).sum(), (hidden, weight))
    assert ((values - plain) * weights).abs().max() < 1e-4 and values[:, labels == IGNORE].abs().sum() == 0
    for a, b in zip(got, want):
        assert torch.isfinite(a).all() and (a - b).abs().max() < 1e-5 * max(1.0, float(b.abs().max()))


def test_small_logits_are_kept_and_not_made_again() -> None:
    hidden, weight, labels = inputs()
    made = 0

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal made
            made += func is torch.ops.aten.mm.default
            return func(*args, **(kwargs or {}))

    with Count():
        token_nll(hidden, weight, labels).sum().backward()
    assert made == 2  # logits, and the gradient of the hidden states; that of the weights is an addmm


def test_no_label_at_all_still_has_a_gradient() -> None:
    hidden, weight, labels = inputs()
    nll = token_nll(hidden, weight, torch.full_like(labels, IGNORE))
    nll.sum().backward()
    assert nll.sum() == 0 and hidden.grad.abs().sum() == 0 and weight.grad.abs().sum() == 0


def test_large_logits_stay_finite() -> None:
    hidden, weight, labels = inputs()
    nll = token_nll(hidden * 1000, weight, labels)
    nll.sum().backward()
    assert torch.isfinite(nll).all() and torch.isfinite(weight.grad).all()


def test_logits_never_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor of tokens · vocabulary is made: the largest is a chunk. Above `KEEP`, no more than one is held at a time."""
    monkeypatch.setattr(losses, "KEEP", 1)
    hidden, weight, labels = inputs(t=512, v=1000)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for t in out if isinstance(out, tuple | list) else [out]:
                largest = max(largest, t.numel() if isinstance(t, torch.Tensor) else 0)
            return out

    with Watch():
        token_nll(hidden, weight, labels, chunk=32).sum().backward()
    assert largest <= 32 * 1000 < 512 * 1000
