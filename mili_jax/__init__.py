"""One-shot imitation that improves from its own trials (MILI, Singh et al. 2020) in JAX."""
