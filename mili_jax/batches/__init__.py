"""Episodes and pairs to batches, without JAX."""
