"""What the ``gradc`` command does: finding the function, reading inputs, printing answers; parsing is in `cli`."""
