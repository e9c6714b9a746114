"""What embeds demonstrations: see `protocols.Embedder`."""
