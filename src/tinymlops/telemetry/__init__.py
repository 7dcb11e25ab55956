"""What devices told of their use: kept as it came in, then in tables that can be read as they were at any time."""
