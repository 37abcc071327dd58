"""The parameters that several verbs of the command share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AT_HELP = (
    "Values: x=-2, x=1,2, w=1,2;3,4, w=@file.npy, 'w=normal(64,10)', params.w1=0.5 for an entry. "
    "Whole numbers are floats unless the function is annotated otherwise."
)

Spec = Annotated[
    str | None, typer.Argument(metavar="SPEC", help="file.py:function, package.module:function or net.toml")
]
Expr = Annotated[str | None, typer.Option("--expr", metavar="TEXT", help='A formula such as "(x + y) * z".')]
At = Annotated[list[str] | None, typer.Option("--at", metavar="NAME=VALUE...", help=AT_HELP)]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=SIZES...", help="Draw an array at random: w=10,3"),
]
InputFile = Annotated[
    Path | None,
    typer.Option("--inputs", metavar="FILE", help="Values from an .npz file; its names are those of --at."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of drawn inputs and directions.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="NAME",
        help="cpu: compiled by Numba; cuda: kernels of a GPU; interpret: slow, needs no compiler.",
    ),
]
Products = Annotated[
    str,
    typer.Option(
        "--products",
        metavar="NAME",
        help="With --target cuda: who multiplies matrices, own kernels or cublas, NVIDIA's library.",
    ),
]
Capability = Annotated[
    list[str] | None,
    typer.Option(
        "--capability",
        metavar="X.Y,...",
        help="With --target cuda: compute capabilities to make PTX for, such as 8.0 (A100); else 9.0 (H100).",
    ),
]
Of = Annotated[
    str,
    typer.Option(
        "--of",
        metavar="NAME",
        help="value, grad, value_and_grad (usual), vjp, jvp, jacobian, hessian or hvp; of a network also "
        "step (usual) or predict.",
        show_default=False,
    ),
]
