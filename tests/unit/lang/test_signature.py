"""The names that the leaves of a call have in programs and in generated code."""

import numpy as np

import gradc
from gradc.lang.signature import Signature, flatten


def test_keys_that_are_no_identifiers_give_plain_names_of_their_own():
    keys = {"a.b": 1.0, "a_b": 2.0, "x):\n    boom": 3.0, "ж": 4.0}
    names = flatten(Signature(lambda p: p, None, ()), ({**keys, "a": {"b": 5.0}},)).names
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in names)
    assert "p_a_b" in names
    assert "p_a_b_2" in names


def test_generated_code_holds_no_text_of_keys():
    keys = ["a.b", "a_b", "n0", "x):\n    import os  #", "ж", "a b"]
    given = {key: np.full(at + 1, 2.0) for at, key in enumerate(keys)}
    loss = gradc.differentiate(lambda p: sum(np.square(value).sum() for value in p.values()))
    found = loss.with_options(target="interpret").grad(given)
    source = loss.inspect(given).source
    compile(source, "kernel", "exec")
    assert "import os" not in source
    for key, value in given.items():
        np.testing.assert_array_equal(found[key], 2 * value)
