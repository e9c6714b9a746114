"""Losses, augmentation, train steps, the inner loop, acting."""
