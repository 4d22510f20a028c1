"""See CONTRIBUTING.md for the map of the house."""
