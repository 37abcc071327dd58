"""Self-attention against loops over heads and times."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.nn.applied import agree, apply, random_inputs

from gradc.errors import ArgumentError, ShapeError
from gradc.nn import Attention


def loops(layer, features):
    size = layer.size or features // layer.heads

    def mapped(arrays, name, x):
        return x @ arrays[name] + (arrays[f"{name}_bias"] if layer.bias else 0)

    def attention(arrays, x):
        y = np.zeros((*x.shape[:2], layer.heads * size))
        for n, head in np.ndindex(len(x), layer.heads):
            part = slice(head * size, (head + 1) * size)
            q, k, v = (mapped(arrays, name, x[n])[:, part] for name in ("query", "key", "value"))
            for t in range(x.shape[1]):
                seen = range(t + 1) if layer.causal else range(x.shape[1])
                shares = np.array([np.exp(q[t] @ k[s] / size**0.5) for s in seen])
                y[n, t, part] = sum(
                    share * v[s] for share, s in zip(shares / shares.sum(), seen, strict=True)
                )
        return mapped(arrays, "output", y)

    return attention


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"heads": 2}, {"heads": 4, "bias": False}, {"heads": 3, "size": 2}, {"size": 1}], ids=str
)
def test_every_head_takes_means_of_values_weighed_by_queries_and_keys(options, causal):
    layer = Attention(causal=causal, **options)
    agree(layer, *random_inputs((5, 4), batch=2), expected=loops(layer, 4))


def test_a_causal_head_does_not_see_what_comes_later():
    x = random_inputs((4, 4), batch=1)[0]
    changed = x.copy()
    changed[:, 2:] += 1
    first, second = (apply(Attention(2, causal=True), item, check=False).value for item in (x, changed))
    assert np.array_equal(first[:, :2], second[:, :2])
    assert not np.allclose(first[:, 2:], second[:, 2:])


def test_compiled_attention_agrees_with_the_interpreter():
    x = random_inputs((5, 4), batch=2)
    layer = Attention(2, causal=True)
    compiled, still = apply(layer, *x, check=False, target="cpu"), apply(layer, *x, check=False)
    np.testing.assert_allclose(compiled.value, still.value, rtol=1e-12)
    for name, gradient in still.gradients[0].items():
        np.testing.assert_allclose(compiled.gradients[0][name], gradient, rtol=1e-10, atol=1e-13)


def test_what_attention_learns():
    found = Attention(2, size=3).parameters((5, 4))
    assert {name: p.shape for name, p in found.items()} == {
        **dict.fromkeys(("query", "key", "value"), (4, 6)),
        "output": (6, 4),
        **dict.fromkeys(("query_bias", "key_bias", "value_bias"), (6,)),
        "output_bias": (4,),
    }
    assert all(p.is_weight != name.endswith("_bias") for name, p in found.items())
    assert list(Attention(bias=False).parameters((5, 4))) == ["query", "key", "value", "output"]


@pytest.mark.parametrize("options", [{"heads": 0}, {"heads": 2.0}, {"size": 0}])
def test_options_of_attention_that_cannot_be_are_refused(options):
    with pytest.raises(ArgumentError, match="whole number"):
        Attention(**options)


@pytest.mark.parametrize(
    ("layer", "shape", "what"),
    [(Attention(), (4,), "time, features"), (Attention(3), (5, 4), "cannot be divided among 3 heads")],
    ids=str,
)
def test_inputs_that_do_not_fit_attention_are_refused(layer, shape, what):
    with pytest.raises(ShapeError, match=what) as caught:
        layer.output_shape(shape)
    assert str(shape) in caught.value.why
    assert caught.value.do
