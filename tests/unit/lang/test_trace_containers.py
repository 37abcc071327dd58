"""A container argument that the function changes is refused: the change would not reach the caller."""

import numpy as np
import pytest

from gradc import differentiate
from gradc.errors import GradcWarning, TraceError


def replaced_entry(params):
    params["w"] = params["w"] * 2
    return params["w"].sum()


def appended(params):
    params["layers"].append(params["layers"][0])
    return params["layers"][0].sum()


def rebuilt(params):
    params = {**params, "w": params["w"] * 2}
    return params["w"].sum()


@pytest.mark.parametrize("function", [replaced_entry, appended], ids=lambda f: f.__name__)
def test_changed_containers_are_refused(function):
    with pytest.raises(TraceError, match="changes the container params"):
        differentiate(function, target="interpret").grad({"w": np.ones(3), "layers": [np.ones(2)]})


def test_a_new_container_is_fine():
    gradient = differentiate(rebuilt, target="interpret").grad({"w": np.ones(3)})
    assert np.array_equal(gradient["w"], [2.0, 2.0, 2.0])


def test_an_unused_argument_is_pointed_out():
    function = differentiate(lambda x, y: (x * 2).sum(), wrt=("x", "y"), target="interpret")
    with pytest.warns(GradcWarning, match="does not depend on y"):
        gradient = function.grad(np.ones(3), 1.0)
    assert np.array_equal(gradient[0], [2.0, 2.0, 2.0])
    assert gradient[1] == 0.0


def test_of_many_lower_bounds_the_strongest_is_kept():
    function = differentiate(lambda x: x[0] + x[3] * x[1], target="interpret")
    program = function.inspect(np.ones(5)).stages.program
    assert [str(guard) for guard in program.guards] == ["x_n0 >= 4"]
