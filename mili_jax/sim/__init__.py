"""The benchmark. Importing this package registers `mili_jax/Kitchen-v0` with Gymnasium."""

import gymnasium

gymnasium.register("mili_jax/Kitchen-v0", entry_point="mili_jax.sim.env:KitchenEnv")
