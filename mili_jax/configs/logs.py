"""The loop on episodes that somebody's robot has logged: no simulator, nothing that knows a table.

    mili import LOGS --format=rlds --map=mapping.yaml --out=runs/logs/dataset
    mili run --config=logs --workdir=runs/logs

Demonstrations, trials and held-out episodes are the splits `demos_train`, `round_1` and
`demos_test` of the mapping. People answer which trials were useful (`mili label`), and the filter
`learned` decides about the rest where it is sure. Sized for some dozens of episodes. The gradient
of the policy does not reach the embedding: of so little data it makes all embeddings equal.
"""

from __future__ import annotations


def fields() -> dict[str, object]:
    """What differs from the defaults."""
    return {
        "domain.name": "logs",
        "policy.embedding": "images_only",
        "policy.head": "spatial_softmax_mdn",
        "policy.frames": 6,
        "train.steps": 400,
        "train.batch": 12,
        "train.embedding_gradient": 0.0,
        "improve.filter": "learned",
        "improve.alpha": 0.5,
        "improve.batch": 8,
        "improve.steps": 100,
        "improve.rested": False,
    }
