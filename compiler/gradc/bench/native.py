"""C by hand: compiled with the system's compiler, called through ctypes."""

from __future__ import annotations

import atexit
import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

# What -ffast-math allows, without its code that makes the whole process flush subnormal numbers to zero.
RELAXED = (
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",
    "-fno-signed-zeros",
    "-freciprocal-math",
)
FLAGS = ("-O3", "-march=native", *RELAXED, "-fopenmp", "-shared", "-fPIC")


def library(source: str) -> Path:
    """Compile C to a shared library, in a folder that stays for as long as the process.

    Raises
    ------
    RuntimeError
        The compiler refuses it.
    """
    folder = Path(tempfile.mkdtemp(prefix="gradc-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    text, out = folder / "way.c", folder / "way.so"
    text.write_text(source)
    command = ["cc", *FLAGS, str(text), "-o", str(out), "-lm"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    return out


def function(source: str, name: str, restype: Any = ctypes.c_double) -> Any:
    """Compile C and return one of its functions."""
    found = getattr(ctypes.CDLL(str(library(source))), name)
    found.restype = restype
    return found


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    """Address of an array, as an argument; the caller keeps the array."""
    return ctypes.c_void_p(array.ctypes.data)
