"""The screens of the TUI: the overview, and the sheets that open over it."""
