"""Names of tensors, sizes and indices in both spellings."""

import pytest

from gradc.explain.mathematics.latex import LatexPrinter, latex_name
from gradc.explain.mathematics.symbols import Symbol, Symbols, output_symbol
from gradc.explain.mathematics.tree import Affine, LookedUp, Tensor, Variable
from gradc.explain.mathematics.unicode import UnicodePrinter, plain_name
from gradc.ir.extents import symbol
from gradc.ir.index.nodes import Program
from gradc.ir.tensors import TensorType
from gradc.ir.types import DType


@pytest.mark.parametrize(
    ("name", "plain", "latex"),
    [
        ("W", "W", "W"),
        ("w1", "w1", "w_{1}"),
        ("v17", "v17", "v_{17}"),
        ("loss", "loss", r"\mathrm{loss}"),
        ("alpha", "α", r"\alpha"),
        ("theta2", "θ2", r"\theta_{2}"),
        ("x_dot", "ẋ", r"\dot{x}"),
        ("W_bar", "W̄", r"\bar{W}"),
        ("logits_bar", "logits_bar", r"\overline{\mathrm{logits}}"),
        ("x_max", "x_max", r"x_{\mathrm{max}}"),
        ("my_long_name", "my_long_name", r"\mathrm{my\_long\_name}"),
        ("h_2", "h_2", "h_{2}"),
    ],
)
def test_a_name(name: str, plain: str, latex: str):
    assert (plain_name(name), latex_name(name)) == (plain, latex)


ROW, COLUMN = Variable(0, 5), Variable(1, 7)
NEXT = Affine(((1, ROW),), 1)
ODD = Affine(((2, ROW), (-1, COLUMN)), -1)


@pytest.mark.parametrize(
    ("places", "plain", "latex"),
    [
        ((Affine(((1, ROW),)), Affine(((1, COLUMN),))), "w1_ij", "w_{1,ij}"),
        ((NEXT,), "w1_{i+1}", "w_{1,i+1}"),
        ((ODD,), "w1_{2i-j-1}", "w_{1,2i-j-1}"),
        ((Affine((), 3),), "w1_{3}", "w_{1,3}"),
        ((LookedUp("labels", (Affine(((1, ROW),)),)),), "w1_{labels_i}", r"w_{1,\mathrm{labels}_{i}}"),
        ((Affine(((1, ROW),), symbol("n")),), "w1_{i+n}", "w_{1,i+n}"),
    ],
)
def test_indices(places: tuple[Affine, ...], plain: str, latex: str):
    tensor = Tensor("w1", places)
    letters = Symbols({}).named([tensor])
    assert UnicodePrinter(Symbols({}), letters).text(tensor) == plain
    assert LatexPrinter(Symbols({}), letters).text(tensor) == latex


def test_a_cotangent_is_a_derivative():
    names = Symbols({"g": Symbol("W", "loss")})
    tensor = Tensor("g", (Affine(((1, ROW),)),))
    letters = names.named([tensor])
    assert UnicodePrinter(names, letters).text(tensor) == "∂loss/∂W_i"
    assert LatexPrinter(names, letters).text(tensor) == r"\frac{\partial \mathrm{loss}}{\partial W_{i}}"


@pytest.mark.parametrize(
    ("names", "shown"), [(("v1",), "L"), (("v1", "L"), "J"), (("v1", "L", "J"), "E"), (("loss",), "loss")]
)
def test_the_output_gets_a_letter_that_is_free(names: tuple[str, ...], shown: str):
    types = dict.fromkeys(names, TensorType(DType.F64, ()))
    assert output_symbol(Program("f", names, (), names[:1], types)) == shown


def test_an_extent_of_an_argument_is_a_subscript():
    assert LatexPrinter(Symbols({})).size_name("labels_n0") == r"n_{\mathrm{labels},0}"
    assert LatexPrinter(Symbols({})).size_name("n") == "n"
