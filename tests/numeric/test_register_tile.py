"""The register tile keeps its accumulators in registers, whatever processor LLVM schedules it for."""

import os
import platform
import re
import subprocess
import sys

import pytest

PROGRAM = """
import gradc_runtime.numba_backend
from gradc_runtime import machine_code, register_tile
from gradc_runtime.object_code import codegen

def show(source):
    print(codegen()._tm.emit_assembly(source.optimised()))

machine_code.build = show
register_tile.micro_kernel({bits}, 3, {packed})
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="processors of another kind")
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("processor", ["haswell", "znver3", "alderlake"])
def test_no_accumulator_lies_in_memory(processor: str, bits: int, packed: bool):
    chosen = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma", "GRADC_CACHE": "off"}
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(bits=bits, packed=packed)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **chosen},
    )
    blocks = re.split(r"^\.\w+:|^\tj\w+", child.stdout, flags=re.MULTILINE)
    loops = [block for block in blocks if len(re.findall(r"vfmadd", block)) >= 12]
    assert len(loops) == (1 if packed else 2)
    (whole,) = (loop for loop in loops if "mask" not in loop)  # the other one is that of the last panel
    assert len(re.findall(r"vfmadd\w+\s+%ymm\d+, %ymm\d+, %ymm\d+", whole)) == 12
    assert "%rsp" not in whole
