"""What chooses an action: see `protocols.Head`."""
