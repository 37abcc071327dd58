"""Whether LaTeX is well formed: braces, pairs of delimiters, environments, no Unicode, no bare underscore."""

import re


def check(text: str) -> None:
    """Fail where LaTeX is not well formed."""
    assert text.isascii(), text
    depth = 0
    for position, char in enumerate(text):
        escaped = position > 0 and text[position - 1] == "\\"
        depth += (char == "{" and not escaped) - (char == "}" and not escaped)
        assert depth >= 0, text
    assert depth == 0, text
    assert len(re.findall(r"\\left[^a-z]|\\left\\", text)) == len(
        re.findall(r"\\right[^a-z]|\\right\\", text)
    ), text
    assert re.findall(r"\\begin\{(\w+)\}", text)[::-1] == re.findall(r"\\end\{(\w+)\}", text) or (
        sorted(re.findall(r"\\begin\{(\w+)\}", text)) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    ), text
    assert not re.search(r"[_^]\{[^{}]*\}[_^]?_\{", text), f"two subscripts: {text}"
    assert "None" not in text, text
