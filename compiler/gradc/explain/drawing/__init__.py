"""Pictures from plain shapes: a scene, and its two formats, SVG and PNG."""
