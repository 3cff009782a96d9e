"""Every benchmark by name: `python -m benchmarks [NAME [OPTION ...]]`; without one, all in turn.

A figure here is a ratio to a yardstick in the same run, because machines differ and are shared.
"""

import subprocess
import sys
from typing import Final

BENCHMARKS: Final = {
    "upstream": "CPU that one upstream call costs, by HTTP client",
    "overhead": "CPU and latency that governing adds to a passthrough (needs PostgreSQL and Redis)",
    "batches": "latency of those who wait beside a batch (needs PostgreSQL and Redis)",
    "ledger": "holds a second of one hot tenant (needs PostgreSQL)",
    "gate": "CPU of one decision of the learned gate",
    "search": "speed and quality of the search engine, beside its rivals (half an hour)",
}


def main() -> None:
    """Run the one that is named, or all; exit 1 when one fails."""
    names = sys.argv[1:2] or list(BENCHMARKS)
    if unknown := set(names) - BENCHMARKS.keys():
        known = "".join(f"\n  {name:10} {what}" for name, what in BENCHMARKS.items())
        raise SystemExit(f"no benchmark {unknown.pop()!r}; there are:{known}")
    failed = False
    for name in names:
        print(f"== {name}: {BENCHMARKS[name]}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[2:]]
        failed |= subprocess.run(command, check=False).returncode != 0  # noqa: S603 - ours
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
