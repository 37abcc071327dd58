"""PTX of launches and what they take of a device, without one."""

import re
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gradc import differentiate
from gradc.errors import ArgumentError, DeviceError
from gradc.explain.inspection import Inspection
from gradc.explain.kernels import ptx
from gradc_runtime import cuda_errors

pytest.importorskip("numba_cuda", reason="pip install gradc[cuda]")
from gradc_runtime import cuda_backend

pytestmark = pytest.mark.skipif(cuda_backend.SIMULATED, reason="NUMBA_ENABLE_CUDASIM is set")


def waves(x: np.ndarray) -> Any:
    return (np.sin(x) * np.exp(x)).sum()


@pytest.fixture(scope="module")
def inspection() -> Inspection:
    return differentiate(waves, target="cuda").inspect(np.ones(5))


def test_entries_have_the_names_of_launches_and_no_name_is_mangled(inspection: Inspection):
    found = ptx.ptx_of(inspection.stages, (8, 0))
    assert list(found) == ["elements_1", "numbers_2"]
    for name, text in found.items():
        assert re.findall(r"^\.visible \.entry (\w+)\($", text, re.MULTILINE) == [name]
        assert not re.search("_ZN|cudapy", text)
        declared = re.findall(rf"\b{name}_environment_\d+;", text)
        assert len(declared) == len(set(declared))


def test_the_assembler_takes_what_is_shown(inspection: Inspection):
    for name, text in ptx.ptx_of(inspection.stages, (8, 0)).items():
        assert re.search(rf"\b{name}\b", cuda_backend.assembled(text, (8, 0)))


def test_the_text_does_not_depend_on_what_was_compiled_before(inspection: Inspection):
    again = differentiate(waves, target="cuda").inspect(np.ones(5))
    assert again.ptx_for("8.0") == inspection.ptx_for((8, 0))


def test_headings_name_the_arguments(inspection: Inspection):
    arguments = (
        "elements_1(x_n0: int64, blocks: int64, x: float64[::1], x_bar: float64[::1], v4_parts: float64[::1])"
    )
    assert f"// {arguments}\n" in inspection.ptx
    assert ".target sm_90\n" in inspection.ptx


def test_operations_of_the_runtime_are_named():
    solved = differentiate(lambda a, b: np.linalg.solve(a, b).sum(), target="cuda").at(np.eye(2), np.ones(2))
    assert ptx.library_calls(solved.inspect("value").stages) == ("solve",)
    assert solved.inspect("value").ptx_for("8.0").endswith("kernels of the runtime's own operations, solve\n")


@pytest.mark.parametrize("given", ["9", "sm_9", "9.0a", "nine", "", 9, (9,), (9, 0, 0), (9.0, 0), None, True])
def test_what_is_no_capability(given: object):
    with pytest.raises(ArgumentError, match="no compute capability"):
        ptx.capability_of(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("9.0", (9, 0)), ("90", (9, 0)), ("SM_86", (8, 6)), (8.9, (8, 9)), ("12.0", (12, 0)), ("120", (12, 0))],
)
def test_capabilities(given: object, expected: tuple[int, int]):
    assert ptx.capability_of(given) == expected


def test_capabilities_that_the_compiler_does_not_know(inspection: Inspection):
    with pytest.raises(ArgumentError, match="choose a later one"):
        inspection.ptx_for((3, 0))
    with pytest.raises(ArgumentError, match=r"makes code for 9.0(?s:.*)choose 9.0"):
        inspection.resources_for("9.9")


def test_what_launches_take(inspection: Inspection):
    rows = ptx.resources_of(inspection.stages, (8, 0))
    assert [(row.name, row.threads, row.why) for row in rows] == [
        ("elements_1", 256, ""),
        ("numbers_2", 256, ""),
    ]
    assert all(row.registers and 8 <= row.registers <= 255 for row in rows)
    assert all(row.shared == 256 * 8 for row in rows)  # in which the threads of a block add numbers up
    table = inspection.resources_for("8.0").splitlines()
    head, first = table[1].split("  "), table[2].split()
    assert [cell.strip() for cell in head if cell] == list(ptx._HEAD)
    assert first == [
        "elements_1",
        *map(str, (256, rows[0].registers, rows[0].shared, rows[0].stack, rows[0].spilled)),
    ]


def test_without_an_assembler_the_reason_is_told(inspection: Inspection):
    with mock.patch.object(cuda_backend, "assembled", side_effect=OSError("no libnvJitLink")):
        text = inspection.resources
    assert "not known of elements_1, numbers_2: the kernel could not be assembled: no libnvJitLink" in text
    assert "spilled\n" not in text.partition("\n")[2]


def test_without_the_package_the_error_says_how_to_install_it(inspection: Inspection):
    missing = cuda_errors.package_missing("it is not installed")
    with mock.patch.object(cuda_backend, "ptx", side_effect=missing), pytest.raises(DeviceError) as caught:
        _ = inspection.ptx
    assert (caught.value.what, caught.value.do) == (missing.what, missing.do)
    assert caught.value.where == "waves_value_and_grad"
