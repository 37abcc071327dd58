"""``gradc summary``: what a network costs, layer by layer."""

from __future__ import annotations

from pathlib import Path

from gradc.command.documents import to_json
from gradc.command.request import Answer
from gradc.nn.files.network_file import NetworkFile


def summary(path: Path, batch: int | None, as_json: bool) -> Answer:
    """Return the table of layers of a network file, for a batch as the file says unless another is given."""
    file = NetworkFile.read(path)
    found = file.network.summary(batch or file.training.batch, file.training.optimiser)
    return Answer(to_json(found.to_dict()) if as_json else str(found))
