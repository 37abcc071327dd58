"""The weights that a network file names: a file beside it, and never anywhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from gradc.errors import InputRefused
from gradc.nn.checkpoint import load_network
from gradc.nn.network import Network


def load_weights(
    network: Network, file: Path, name: str, refused: Callable[[str, str], InputRefused]
) -> None:
    """Load the weights that a network file names.

    Parameters
    ----------
    network : Network
        Gets the weights.
    file : Path
        The network file.
    name : str
        What it says: a path relative to its folder, with slashes, that leads through no link.
    refused : callable
        Makes the error from what is wrong and why.

    Raises
    ------
    InputRefused
        The path leads elsewhere, or the file is damaged or of another network.
    """
    relative = PurePosixPath(name)
    is_inside = name and not relative.is_absolute() and ".." not in relative.parts
    if not is_inside or any(char in name for char in "\\:\0"):
        raise refused("the weights are not beside the file", "the path leads out of its folder")
    place = file.parent
    for part in relative.parts:
        place = place / part
        if place.is_symlink():
            raise refused("the weights cannot be read", "links are not followed")
    if place.is_file() and place.stat().st_nlink > 1:
        raise refused("the weights cannot be read", "the file has another name elsewhere (a hard link)")
    try:
        load_network(network, place)
    except InputRefused as error:
        raise refused(f"the weights cannot be used: {error.what}", error.why) from error
