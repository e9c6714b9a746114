"""Demonstration embeddings: (maps [N,M,h,w,C], pose [N,K,7]) -> (z [N,Z], auxiliary [N])."""
