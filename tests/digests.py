"""What a run of the configuration `test` came to, as digests: the check of a change of place.

    taskset -c 0 python -m experiments.mili --config=experiments/configs/mili.py:test --workdir=A
    python tests/digests.py A

prints the SHA-256 of its result rows (without the commit) and of the parameters of every training.
A change that only moves code prints the same before and after it, on one machine with one set of
CPUs: other processors may round differently. `digests.json` has both of the commit that cut the
package into rooms.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def digests(workdir: Path) -> dict[str, str]:
    """By name: `rows`, and every training with its last step."""
    lines = (workdir / "results.jsonl").read_text().splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k != "commit"} for line in lines]
    found = {"rows": hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()}
    for folder in sorted((workdir / "checkpoints").iterdir()):
        last = max(folder.glob("*.json"), key=lambda path: int(path.stem))
        found[f"{folder.name} {last.stem}"] = json.loads(last.read_text())["content"]
    return found


if __name__ == "__main__":
    print(json.dumps(digests(Path(sys.argv[1])), indent=1))
