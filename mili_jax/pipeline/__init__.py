"""Algorithm 1 as stages that talk through files."""
