"""Measures of the search engine: `python -m benchmarks.search {speed,quality,recorded}`.

Each is a module of this folder with a `main(arguments)`, imported only when asked for.
"""

import sys
from importlib import import_module

SUBJECTS = ("speed", "quality", "recorded")


def main() -> None:
    """Hand the rest of the command line to the subject that it begins with."""
    if len(sys.argv) < 2 or sys.argv[1] not in SUBJECTS:
        sys.exit(f"usage: python -m benchmarks.search {{{','.join(SUBJECTS)}}} ...")
    import_module(f"benchmarks.search.{sys.argv[1]}").main(sys.argv[2:])


main()
