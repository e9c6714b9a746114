"""The whole loop on the toy, small: it checks that everything runs, not that it learns."""

from ml_collections import ConfigDict

from mili_jax.pipeline.schema import default_config


def get_config() -> ConfigDict:
    config = default_config("toy")
    config.update_from_flattened_dict(
        {
            "domain.name": "toy",
            "data.image_size": 96,
            "data.tasks": 6,
            "data.demonstrations": 2,
            "policy.embedding": "images_only",
            "policy.head": "spatial_softmax_mdn",
            "policy.embedding_size": 16,
            "policy.channels": 8,
            "policy.blocks": 1,
            "policy.places": 4,
            "train.steps": 30,
            "train.batch": 4,
            "train.policy_steps": 2,
            "train.checkpoint_every": 15,
            "improve.trials": 16,
            "improve.alpha": -1.0,
            "improve.rested": False,
            "improve.batch": 4,
            "improve.steps": 10,
            # After so few steps no trial is useful: the second arm has pairs all the same.
            "improve.arms": ("mili", "unfiltered"),
            "evaluate.tasks": 4,
            "evaluate.episodes": 1,
            "evaluate.videos": 1,
            "machine.processes": 0,
            "machine.shard": 8,
        }
    )
    return config.lock()
