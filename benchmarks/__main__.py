"""All speed benchmarks, one after another: `python -m benchmarks`, or `make bench`."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "rollout",
    "acting",
    "pairing",
    "reading",
    "interchange",
    "labelling",
    "teleoperation",
    "train",
    "maml",
)


def main() -> int:
    """Runs them; 1 if any failed."""
    failed = []
    for name in NAMES:
        print(f"\n== python -m benchmarks.{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
