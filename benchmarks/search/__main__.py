"""Measures of the search engine: `python -m benchmarks.search [SUBJECT [OPTION ...]]`.

Each subject is a module of this folder with a `main(arguments)`, imported only when asked for;
without one, all of them run in turn.
"""

import sys
from importlib import import_module

SUBJECTS = ("speed", "quality", "recorded", "selection")


def main() -> None:
    """Hand the rest of the command line to the subject that it begins with."""
    asked = sys.argv[1:2] or list(SUBJECTS)
    if not set(asked) <= set(SUBJECTS):
        sys.exit(f"usage: python -m benchmarks.search [{{{','.join(SUBJECTS)}}} ...]")
    for subject in asked:
        print(f"== {subject}", flush=True)
        import_module(f"benchmarks.search.{subject}").main(sys.argv[2:])


main()
