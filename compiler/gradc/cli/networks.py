"""The verbs on networks: how large one is, and training it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradc.cli.app import app, examples, quietly
from gradc.command.parameters import Json, Products
from gradc.command.request import Answer

NetworkFile = Annotated[Path, typer.Argument(metavar="NET", help="A network file: net.toml.")]


@app.command(epilog=examples("gradc summary net.toml", "gradc summary net.toml --batch 128 --json"))
def summary(
    network: NetworkFile,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, metavar="N", help="Examples of a step; else as in the file."),
    ] = None,
    json: Json = False,
) -> Answer:
    """Print the layers of a network: shapes, parameters, operations, memory.

    The memory is that of values which the backward pass reads, as the compiled training step keeps them; values that
    stay in registers take none. Nothing is run.
    """

    def verb() -> Answer:
        from gradc.command import network_summary  # noqa: PLC0415  (as all verbs: help waits for none of it)

        return network_summary.summary(network, batch, json)

    return quietly(verb)


@app.command(
    epilog=examples(
        "gradc train net.toml --data digits.npz --out run",
        "gradc train net.toml --data digits.npz --out run --epochs 60 --resume --plots",
    )
)
def train(
    network: NetworkFile,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FILE",
            help="An .npz file with examples x and targets y, perhaps x_validation and y_validation.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to write.")],
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=0, metavar="N", help="Of the whole training.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, metavar="N", help="Examples of a step.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, metavar="N", help="Of the order of examples, and of dropout."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option("--patience", min=1, metavar="N", help="Epochs without improvement until it stops."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in DIR, to the same bits.")
    ] = False,
    plots: Annotated[
        bool,
        typer.Option(
            "--plots", help="Draw the curves, the signals in each layer, the first weights, the graph."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew where DIR holds a training.")] = False,
    target: Annotated[
        str, typer.Option("--target", metavar="NAME", help="Where steps run: cpu, or cuda for a GPU.")
    ] = "cpu",
    products: Products = "own",
    json: Json = False,
) -> Answer:
    """Train a network file on data.

    Forward, backward, update and running statistics are one kernel. What the file's [training] says holds where no
    option says otherwise. DIR gets the weights, the history, a checkpoint (every second, between epochs), and the
    network file as it was trained. Ctrl-C stops cleanly: the best weights are written (exit code 130). With --target
    cuda parameters and data stay in the memory of the GPU; validation runs on the processor.
    """

    def verb() -> Answer:
        from gradc.command import train as training  # noqa: PLC0415  (as all verbs: help waits for none of it)

        course = training.Course(
            data, out, epochs, batch, seed, patience, resume, plots, force, target, products
        )
        return training.train(network, course, json)

    return quietly(verb)
