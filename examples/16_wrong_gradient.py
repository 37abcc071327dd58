"""A gradient written by hand can be wrong; the gradient check finds it, and names the gate and its line.

`custom_gradient` replaces what gradc would derive by a pullback of your own.
"""

import numpy as np

from gradc import custom_gradient, differentiate


@custom_gradient
def softplus(x):
    def pullback(cotangent):
        return cotangent / (1 + np.exp(-x))

    return np.log(1 + np.exp(x)), pullback


@custom_gradient
def wrong_softplus(x):
    def pullback(cotangent):
        return cotangent / (1 + np.exp(x))  # a sign is wrong

    return np.log(1 + np.exp(x)), pullback


@differentiate
def good(x):
    return np.square(softplus(x)).sum()


@differentiate
def bad(x):
    return np.square(wrong_softplus(x)).sum()


def main() -> None:
    x = np.array([-1.5, -0.2, 0.4, 2.0])
    value = np.log(1 + np.exp(x))
    assert np.allclose(good.grad(x), 2 * value / (1 + np.exp(-x)), rtol=1e-13)
    assert np.allclose(bad.grad(x), 2 * value / (1 + np.exp(x)), rtol=1e-13)  # your pullback is used as it is

    report = good.check(x)
    print(report)
    assert report

    report = bad.check(x)
    print(report)
    assert not report
    gate = report.entries[0]
    assert gate.index == "gate"
    assert "# a sign is wrong" in gate.detail
    elements = [entry for entry in report.entries if isinstance(entry.index, tuple)]
    assert len(elements) == 4
    assert all(entry.verdict == "WRONG" for entry in elements)


if __name__ == "__main__":
    main()
