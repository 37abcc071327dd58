"""The stages that kernels for a GPU have and others do not: the launch plan, PTX, and what launches take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gradc.errors import ArgumentError
from gradc.ir.stages import Stages

if TYPE_CHECKING:
    from gradc.explain.kernels.launch_plan import Plan

OF_PROCESSOR = ("llvm", "asm")  # stages that a kernel for the processor alone has, and one for a GPU alone
OF_DEVICE = ("launches", "ptx", "resources")


class DeviceStages:
    """A part of an inspection."""

    stages: Stages
    _arguments: Callable[[], Mapping[str, Any]]

    @property
    def launches(self) -> str:
        """The launch plan: a table of what the host starts on the GPU, for these arguments."""
        return str(self.launch_plan())

    def launch_plan(self, bandwidth: float | None = None) -> Plan:
        """What the host starts on the GPU for these arguments: grids, bytes, operations, and the time that takes.

        Parameters
        ----------
        bandwidth : float, optional
            Of the device's memory in GB/s, for the floor of each launch; that of an H100 SXM without it.

        Raises
        ------
        ArgumentError
            The kernel is not for a GPU, or `bandwidth` is not positive.
        """
        from gradc.explain.kernels.launch_plan import BANDWIDTH  # noqa: PLC0415
        from gradc.explain.kernels.launches import plan  # noqa: PLC0415

        self._require("launches")
        if bandwidth is not None and not 0 < bandwidth < float("inf"):
            raise ArgumentError(f"{bandwidth!r} GB/s is no bandwidth", do="give a positive number")
        return plan(self.stages, self._arguments(), BANDWIDTH if bandwidth is None else bandwidth)

    @property
    def ptx(self) -> str:
        """The PTX of all launches for compute capability 9.0, which later devices run too; needs no GPU."""
        return self.ptx_for(None)

    def ptx_for(self, capability: object) -> str:
        """Return the PTX of all launches for a compute capability; needs no GPU.

        Parameters
        ----------
        capability : tuple of int, str or float
            Such as ``(8, 0)`` or ``"8.0"``; None for 9.0.

        Raises
        ------
        ArgumentError
            The kernel is not for a GPU, or the compiler does not know the capability.
        DeviceError
            The compiler for CUDA is not installed, or the simulator takes its place.
        """
        from gradc.explain.kernels.ptx import show_ptx  # noqa: PLC0415

        self._require("ptx")
        return show_ptx(self.stages, _capability(capability))

    @property
    def resources(self) -> str:
        """What launches take of a device of compute capability 9.0: registers, shared memory, what is spilled."""
        return self.resources_for(None)

    def resources_for(self, capability: object) -> str:
        """Return what launches take of a device of a compute capability, as `ptx_for` takes it."""
        from gradc.explain.kernels.ptx import resources_of, show_resources  # noqa: PLC0415

        self._require("resources")
        chosen = _capability(capability)
        return show_resources(self.stages, chosen, resources_of(self.stages, chosen))

    @property
    def _on_device(self) -> bool:
        return self.stages.serial is not None

    def _require(self, stage: str) -> None:
        """Refuse a stage that kernels of this target do not have."""
        if self._on_device and stage in OF_PROCESSOR:
            raise ArgumentError(
                f"a kernel for a GPU has no {stage}",
                where=self.stages.kernel.name,
                why="its host function is Python, and its launches are compiled to PTX",
                do='ask for "ptx" or "resources", or for target="cpu"',
            )
        if not self._on_device and stage in OF_DEVICE:
            raise ArgumentError(
                f"a kernel for the processor has no {stage}",
                where=self.stages.kernel.name,
                do='ask for "asm" or "counts", or for target="cuda"',
            )


def _capability(given: object) -> tuple[int, int]:
    from gradc.explain.kernels.ptx import USUAL, capability_of  # noqa: PLC0415

    return USUAL if given is None else capability_of(given)
