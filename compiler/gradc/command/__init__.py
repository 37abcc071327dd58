"""What the ``gradc`` command does: finding the function, reading inputs, answering; `cli` parses."""
