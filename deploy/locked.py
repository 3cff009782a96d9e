#!/usr/bin/env python3
"""Print the part of requirements.lock that an image needs, with its hashes.

    python deploy/locked.py runtime    what the gateway imports
    python deploy/locked.py build      what makes its wheel

The lock pins tools of developers too; who needs what is in its `# via` comments. Standard library
only, because it runs before anything is installed. What is left out by mistake stops the
installation, which refuses a requirement without a hash.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).parents[1] / "requirements.lock"
PROJECT: Final = "fathom-gateway (pyproject.toml)"
BUILDER: Final = "hatchling"


@dataclass(frozen=True, slots=True)
class Pin:
    """A locked package: its lines, and who asked for it."""

    name: str
    lines: str
    via: frozenset[str]


def pins(lock: str) -> Mapping[str, Pin]:
    """Every pin of a lock, by name."""
    found = (_pin(block) for block in re.split(r"\n(?=[A-Za-z0-9])", lock) if "==" in block)
    return {pin.name: pin for pin in found}


def needed(lock: Mapping[str, Pin], askers: Iterable[str]) -> list[Pin]:
    """What these need, and what that needs in turn, in the order of the lock."""
    reached = set(askers)
    grew = True
    while grew:
        more = {pin.name for pin in lock.values() if pin.via & reached} - reached
        reached |= more
        grew = bool(more)
    return [pin for pin in lock.values() if pin.name in reached]


def _pin(block: str) -> Pin:
    lines = [line for line in block.splitlines() if not line.lstrip().startswith("#")]
    comments = [line.strip(" #") for line in block.splitlines() if line.lstrip().startswith("#")]
    via = frozenset(comment.removeprefix("via").strip() for comment in comments) - {""}
    return Pin(block.partition("==")[0].strip(), "\n".join(lines), via)


def main() -> None:
    """Print the part that the command line names."""
    askers = {"runtime": PROJECT, "build": BUILDER}
    if len(sys.argv) != 2 or sys.argv[1] not in askers:
        sys.exit(f"usage: locked.py {'|'.join(askers)}")
    for pin in needed(pins(LOCK.read_text("utf-8")), [askers[sys.argv[1]]]):
        sys.stdout.write(pin.lines.rstrip() + "\n")


if __name__ == "__main__":
    main()
