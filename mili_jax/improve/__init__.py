"""What Algorithm 1 adds: filters, pairing, arms."""
