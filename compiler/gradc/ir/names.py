"""Names of tensors: unique within a program, readable where the user gave one."""

from __future__ import annotations

import re

# What the text of programs and kernels calls the indices of a space, by their position.
INDEX_NAMES = tuple("ijklpqrstu") + tuple(f"i{number}" for number in range(10, 64))

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")


class NameSupply:
    """Hands out names that were not used before: ``h``, ``h_2``, ``h_3``, or ``v1``, ``v2`` without a hint."""

    def __init__(self, taken: tuple[str, ...] = ()) -> None:
        self._used: dict[str, int] = dict.fromkeys(taken, 1)
        self._count = 0

    def fresh(self, hint: str = "") -> str:
        """A new name, equal to `hint` if that is still free and a plain ASCII identifier."""
        if not hint or not _PLAIN.match(hint):
            return self._numbered()
        while hint in self._used:
            self._used[hint] += 1
            candidate = f"{hint}_{self._used[hint]}"
            if candidate not in self._used:
                hint = candidate
        self._used[hint] = 1
        return hint

    def renamed(self, name: str, hint: str) -> str:
        """Take a new name after `hint` instead of the last numbered one, whose number becomes free."""
        if name != f"v{self._count}" or not _PLAIN.match(hint):
            return name
        del self._used[name]
        self._count -= 1
        return self.fresh(hint)

    def release(self, name: str) -> None:
        """Make a name free again."""
        self._used.pop(name, None)

    def _numbered(self) -> str:
        while True:
            self._count += 1
            name = f"v{self._count}"
            if name not in self._used:
                self._used[name] = 1
                return name
