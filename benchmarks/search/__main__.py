"""Measures of the search engine: `python -m benchmarks.search [SUBJECT [OPTION ...]]`.

Each subject is a module of this folder with a `main(arguments)`, imported only when asked for;
without one, all of them run in turn.
"""

import sys
from importlib import import_module

SUBJECTS = ("speed", "quality", "recorded", "selection")
BESIDE = ("reference",)
"""Needs an installation of its own, and so is run by name alone."""


def main() -> None:
    """Hand the rest of the command line to the subject that it begins with."""
    asked = sys.argv[1:2] or list(SUBJECTS)
    known = (*SUBJECTS, *BESIDE)
    if not set(asked) <= set(known):
        sys.exit(f"usage: python -m benchmarks.search [{{{','.join(known)}}} ...]")
    for subject in asked:
        print(f"== {subject}", flush=True)
        import_module(f"benchmarks.search.{subject}").main(sys.argv[2:])


main()
