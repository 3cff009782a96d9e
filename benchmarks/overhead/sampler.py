"""Where a process spends its CPU time: sampled, and booked on packages.

    python -m benchmarks.overhead.sampler OUT SCRIPT [ARGUMENT ...]

A sample belongs to the innermost frame that is in a package, so that the C code and the standard
library count for whoever called them. A tracing profiler would make small functions look dear, and
loses its way where SQLAlchemy switches stacks.
"""

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

INTERVAL_S: Final = 0.001
SITE: Final = "/site-packages/"
OURS: Final = "/app/"

samples: Counter[str] = Counter()


def owner(frame: FrameType | None) -> str:
    """The package of the innermost frame that has one; for our own code, the module."""
    while frame is not None:
        path = frame.f_code.co_filename
        if SITE in path:
            return path.rpartition(SITE)[2].partition("/")[0]
        if OURS in path:
            return "app/" + path.rpartition(OURS)[2]
        frame = frame.f_back
    return "event loop"


def main() -> None:
    """Run a script and write its samples when it ends."""
    out, script = Path(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    signal.signal(signal.SIGPROF, lambda _signal, frame: samples.update([owner(frame)]))
    # Begun by a signal, so that neither the start nor the warming up is sampled.
    signal.signal(signal.SIGUSR1, lambda _signal, _frame: _start())
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write_text(json.dumps(samples))


def _start() -> None:
    samples.clear()
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)


if __name__ == "__main__":
    main()
