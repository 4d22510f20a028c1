"""The parts of the overview; each shows what it is given and asks nobody for data."""
