"""The networks: encoder, demonstration embeddings, action densities, heads."""
