"""What can go wrong with CUDA: each error says what, why and what to do."""

from __future__ import annotations

CUBLAS = (
    "nvmath-python 'cuda-toolkit[cublas]==13.*'"  # packages that products by cuBLAS need, as pip takes them
)


class CudaError(RuntimeError):
    """Base of the errors of this target.

    Parameters
    ----------
    what : str
        One sentence: what is wrong.
    why, do : str, optional
        The reason and the remedy.
    """

    def __init__(self, what: str, *, why: str = "", do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.do = do

    def __str__(self) -> str:
        """The sentence, then the reason and the remedy on lines of their own."""
        parts = [
            self.what,
            *(f"  {label}: {text}" for label, text in (("why", self.why), ("do", self.do)) if text),
        ]
        return "\n".join(parts)


class PackageMissing(CudaError):
    """The compiler for CUDA is not installed.  Fix: ``pip install 'gradc[cuda]'``."""


class NoDriver(CudaError):
    """The driver of NVIDIA is not there, or does not start.  Fix: install it, or use ``target="cpu"``."""


class NoDevice(CudaError):
    """There is a driver but no device, or none of the number asked for.  Fix: choose one that is there."""


class WrongDevice(CudaError):
    """Arrays of one call lie on several devices.  Fix: copy them to one."""


class OutOfMemory(CudaError):
    """The device has no memory for an array.  Fix: smaller arguments, or ``release()`` of kept memory."""


class LaunchRefused(CudaError):
    """A kernel needs more threads, registers or shared memory than the device has."""


class DeviceFault(CudaError):
    """A kernel failed while it ran; the process cannot use the device any more.  Fix: start a new process."""


class SimulatorLacks(CudaError):
    """What is asked for needs a device or its compiler, and this process runs on the simulator."""


def package_missing(why: str) -> PackageMissing:
    """The error for a machine without numba-cuda."""
    return PackageMissing(
        "kernels for CUDA need the package numba-cuda",
        why=why,
        do="pip install 'gradc[cuda]', or use another target",
    )


def no_driver(why: str) -> CudaError:
    """The error for a driver that does not start, by what it says."""
    if "NO_DEVICE" in why:
        do = "look at nvidia-smi and at CUDA_VISIBLE_DEVICES, or use another target"
        return NoDevice("there is no CUDA device", why=why, do=do)
    return NoDriver(
        "there is no CUDA driver that works",
        why=why,
        do="install NVIDIA's driver (nvidia-smi shows it), use another target,"
        " or try kernels on small arguments in the simulator: NUMBA_ENABLE_CUDASIM=1",
    )


def no_such_device(number: int, count: int) -> NoDevice:
    """The error for a number without a device."""
    there = f"they are numbered 0 to {count - 1}" if count > 1 else "it is number 0"
    return NoDevice(
        f"there is no CUDA device {number}",
        why=f"this process sees {count} device{'s' if count != 1 else ''}; {there}",
        do="choose one of them, or set CUDA_VISIBLE_DEVICES",
    )


def out_of_memory(asked: int, free: int, total: int) -> OutOfMemory:
    """The error for an array that does not fit."""
    return OutOfMemory(
        f"the CUDA device has no memory for an array of {size(asked)}",
        why=f"{size(free)} of its {size(total)} are free",
        do="use smaller arguments or fewer at a time, drop arrays on the device,"
        " or release() what earlier calls keep",
    )


def size(number: int) -> str:
    """A number of bytes for people."""
    value, unit = float(number), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{number} bytes" if unit == "bytes" else f"{value:.3g} {unit}"
