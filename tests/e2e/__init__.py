"""End to end: real processes, real files."""
