"""Why two equations share no loop: a program for every reason, and no reason where they share one."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.explain.kernels.apart import ALONE, Layout, Reason, why_apart
from gradc.explain.kernels.fusion import Group, fusion, show_fusion
from gradc.ir.index.nodes import Accumulate, outputs_of, reads_of
from gradc.ir.stages import Stages
from gradc.schedule.fuse import MAX_LEAVES, fuse

rng = np.random.default_rng(5)


def vector(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def stages_of(function: Callable[..., Any], *arguments: Any, of: str = "value") -> Stages:
    return gradc.differentiate(function).at(*arguments).inspect(of).stages


def reasons(stages: Stages) -> Iterator[tuple[str, Reason]]:
    layout = Layout(stages.optimised, fuse(stages.optimised))
    for number, equation in enumerate(stages.optimised.equations):
        for name in reads_of(equation):
            reason = why_apart(layout, number, name)
            if reason is not None:
                yield name, reason


def long_chain(x):
    for _ in range(MAX_LEAVES + 4):
        x = np.sin(x)
    return x


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def network(w1, w2, x):
    h = np.tanh(x @ w1)
    return np.square(h @ w2).sum()


def crossentropy(w, x, labels):
    z = x @ w
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(labels)), labels]).mean()


def batchnorm(x, g):
    d = x - x.mean(axis=0)
    return np.square(g * d / np.sqrt(np.square(d).mean(axis=0) + 1e-5) - 1).sum()


def attention(q, k, v):
    s = np.einsum("bip,bjp->bij", q, k)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    a = e / e.sum(axis=-1, keepdims=True)
    return np.square(np.einsum("bij,bjp->bip", a, v)).sum()


CONVOLUTION = gradc.equation("y[n,o,p,q] = sum[c,i,j] w[o,c,i,j] * x[n,c,p+i,q+j]")
PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "scalar": (lambda x, y: np.sin(x * y) + np.exp(x) / y, (0.5, 1.5)),
    "chain": (lambda x: (np.exp(-x * x) * np.tanh(x)).sum(), (vector(6),)),
    "softmax": (lambda x: (softmax(x) * x).sum(), (vector(6),)),
    "network": (network, (vector(3, 4), vector(4, 2), vector(5, 3))),
    "batchnorm": (batchnorm, (vector(5, 3), vector(3))),
    "attention": (attention, tuple(vector(4, 200, 32) for _ in range(3))),
    "convolution": (
        lambda w, x: np.tanh(CONVOLUTION(w=w, x=x)).sum(),
        (vector(2, 3, 3, 3), vector(2, 3, 8, 8)),
    ),
    "neighbours": (lambda x: np.square(np.exp(x)[1:] - np.exp(x)[:-1]).sum(), (vector(6),)),
    "long": (lambda x: long_chain(x).sum(), (vector(6),)),
    "parts": (lambda x: (np.concatenate([np.exp(x), np.sin(x)]) * 2).sum(), (vector(6),)),
}


# --- one program for each reason ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "function", "arguments", "text"),
    [
        ("alone", lambda x, w: np.exp(x @ w), (vector(40, 40), vector(40, 40)), "comes of a matrix product"),
        (
            "alone",
            lambda x, w: np.exp(x) @ w,
            (vector(40, 40), vector(40, 40)),
            "is read by a matrix product",
        ),
        ("alone", lambda a, b: np.exp(np.linalg.solve(a, b)), (np.eye(3), vector(3)), "the library's solve"),
        ("incomplete", softmax, (vector(6),), "is the sum over i, complete only behind that loop"),
        ("incomplete", lambda x: x - x.max(), (vector(6),), "is the maximum over i"),
        ("shifted", lambda x: np.exp(x)[2:] * 2, (vector(6),), "which another iteration makes"),
        ("turned", lambda x: x - np.exp(x.mean(axis=0)), (vector(6, 4),), "whose outermost index is i"),
        (
            "extents",
            lambda x: np.exp(x)[:-1] * 2,
            (vector(6),),
            "in a loop over x_n0 and read in one over x_n0 - 1",
        ),
        ("full", long_chain, (vector(6),), f"in a loop of {MAX_LEAVES} steps"),
        ("order", softmax, (vector(6),), "which also needs"),
        ("number", lambda x, y: x * np.exp(y), (vector(6), 0.5), "is computed once"),
        ("behind", lambda x: np.exp(x.sum()), (vector(6),), "is the sum over i"),
        ("assembled", lambda x: np.concatenate([x, x]) * 2, (vector(6),), "is put together from parts"),
    ],
)
def test_every_condition_of_fusion_has_its_reason(
    kind: str, function: Callable[..., Any], arguments: tuple[Any, ...], text: str
):
    found = [reason for _, reason in reasons(stages_of(function, *arguments)) if reason.kind == kind]
    assert any(text in reason.text for reason in found), found


def test_a_sum_into_memory_is_complete_behind_its_loop():
    stages = stages_of(lambda x: x - np.exp(x).sum(axis=0), vector(6, 4))
    assert any("is the sum over j, complete only behind" in reason.text for _, reason in reasons(stages))


def test_what_an_equation_waits_for_is_found():
    stages = stages_of(softmax, vector(6))
    layout = Layout(stages.optimised, fuse(stages.optimised))
    (reason,) = [reason for _, reason in reasons(stages) if reason.kind == "order"]
    waited = outputs_of(stages.optimised.equations[reason.after])[0]
    assert reason.text.endswith(f"which also needs {waited}")
    assert layout.main(reason.after).path


def test_of_several_things_that_an_equation_waits_for_the_last_one_counts():
    def function(x):
        e, positive = np.exp(x), x > 0
        p = e / e.sum()
        q = p / np.tanh(p).sum()
        return np.where(positive, p, q)

    stages = stages_of(function, vector(6))
    (reason,) = [reason for name, reason in reasons(stages) if name == "positive"]
    assert reason.text == "is read by " + stages.optimised.outputs[0] + ", which also needs q"


# --- all programs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["value", "value_and_grad", "hessian"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_there_is_a_reason_exactly_where_no_loop_is_shared(name: str, of: str):
    function, arguments = PROGRAMS[name]
    if of == "hessian" and name in ("long", "attention", "convolution"):
        pytest.skip("takes long to derive")
    stages = stages_of(function, *arguments, of=of)
    layout = Layout(stages.optimised, fuse(stages.optimised))
    for number, equation in enumerate(stages.optimised.equations):
        own = outputs_of(equation) if isinstance(equation, Accumulate) else ()
        for tensor in (*reads_of(equation), *own):
            maker = layout.producer_before(tensor, number)
            if maker is None:
                continue
            made, read = layout.main(maker), layout.readers_place(number, tensor)
            shares = bool(made.path and read.path) and made.path[0] is read.path[0]
            alone = made.leaf.role in ALONE or read.leaf.role in ALONE
            without = not made.path and not read.path and not alone
            assert (why_apart(layout, number, tensor) is None) == (shares or without), (tensor, number)


@pytest.mark.parametrize("of", ["value", "value_and_grad"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_pieces_hold_every_equation_and_what_passes_between_them_has_a_reason(name: str, of: str):
    function, arguments = PROGRAMS[name]
    stages = stages_of(function, *arguments, of=of)
    groups = fusion(stages)
    assert {text for group in groups for text in group.equations} == set(all_equations(stages))
    for group in groups:
        made_before = {name for before in groups[: group.index] for name in before.tensors}
        read = {name for equation in equations_in(stages, group) for name in reads_of(equation)}
        passing = (read & made_before) - set(group.tensors)
        assert passing <= {apart.tensor for apart in group.apart}
        assert all(apart.before < group.index for apart in group.apart)
        assert all(apart.tensor in groups[apart.before].tensors for apart in group.apart)


def all_equations(stages: Stages) -> Iterator[str]:
    from gradc.ir.index.show import show_equation  # noqa: PLC0415

    return (show_equation(equation) for equation in stages.optimised.equations)


def equations_in(stages: Stages, group: Group) -> list[Any]:
    texts = dict(zip(all_equations(stages), stages.optimised.equations, strict=True))
    return [texts[text] for text in group.equations]


# --- text ---------------------------------------------------------------------------------------------------


def test_an_elementwise_chain_is_one_piece_with_all_but_its_result_in_registers():
    stages = stages_of(lambda x: np.tanh(np.exp(x)), vector(6))
    (group,) = [group for group in fusion(stages) if group.equations]
    assert (group.kind, group.loops, group.apart) == ("tasks", (("x_n0",),), ())
    assert group.stored == stages.optimised.outputs


def test_the_text_names_the_reason_and_leaves_out_what_follows_from_it():
    stages = stages_of(softmax, vector(6))
    lines = show_fusion(stages).splitlines()
    last = fusion(stages)[-1]
    kinds = [apart.reason.kind for apart in last.apart]
    assert sorted(kinds) == ["incomplete", "order"]
    (sum_,) = [apart.tensor for apart in last.apart if apart.reason.kind == "incomplete"]
    shown = [line.strip() for line in lines[lines.index("") :] if "not in 2" in line]
    assert shown == [f"not in 2: {sum_} is the sum over i, complete only behind that loop"]


def test_several_tensors_with_one_reason_share_a_line():
    text = show_fusion(stages_of(network, *PROGRAMS["network"][1], of="value_and_grad"))
    lines = [line for line in text.splitlines() if " and " in line and "not in" in line]
    assert all(" are " in line or " come " in line for line in lines)


def test_contractions_that_share_a_loop_are_counted():
    function, arguments = PROGRAMS["attention"]
    (group,) = [group for group in fusion(stages_of(function, *arguments)) if group.equations]
    assert (group.kind, group.contractions) == ("tasks", 2)


def test_a_value_that_is_computed_where_it_is_read_says_so():
    kinds = {apart.reason.kind for group in fusion(batchnorm_stages()) for apart in group.apart}
    assert "again" in kinds


def test_what_a_piece_computes_again_passes_between_no_pieces():
    groups = fusion(stages_of(lambda x: np.square(x - x.mean()).sum(), vector(6), of="value_and_grad"))
    twice = {n for g in groups for n in g.tensors if sum(n in other.tensors for other in groups) > 1}
    assert twice
    for group in groups:
        assert not {apart.tensor for apart in group.apart} & set(group.tensors)


def test_every_part_of_an_assembled_tensor_belongs_to_its_equation():
    stages = stages_of(lambda x, y: np.concatenate([np.exp(x), np.sin(y)]), vector(6), vector(4))
    groups = [group for group in fusion(stages) if group.kind != "entry"]
    assert len(groups) == 2
    assert all(stages.optimised.outputs[0] in group.tensors for group in groups)


def test_what_several_pieces_make_comes_from_the_last_of_them():
    stages = stages_of(lambda x, y: np.concatenate([np.exp(x), np.sin(y)]) * 2, vector(6), vector(4))
    *_, last = fusion(stages)
    (apart,) = last.apart
    assert (apart.reason.kind, apart.before) == ("assembled", last.index - 1)


def test_what_is_added_to_later_is_not_what_an_equation_reads():
    stages = stages_of(lambda x: np.square(x[1:] * x[:-1]).sum(), vector(6), of="value_and_grad")
    layout = Layout(stages.optimised, fuse(stages.optimised))
    first, second, *_ = layout.definers["x_bar"]
    assert layout.producer_before("x_bar", first) is None
    assert layout.producer_before("x_bar", second) == first


def batchnorm_stages() -> Stages:
    def function(x, g, b, t):
        d = x - x.mean(axis=0)
        y = g * d / np.sqrt(np.square(d).mean(axis=0) + 1e-5) + b
        return np.square(y - t).sum()

    return stages_of(function, vector(5, 3), vector(3), vector(3), vector(5, 3), of="value_and_grad")
