"""The named configurations for `--config=experiments/configs/mili.py:<name>`.

They live in the package, a file each: mili_jax/configs/.
"""

from mili_jax.configs import NAMES, get_config

__all__ = ["NAMES", "get_config"]
