"""Floor 7, the front end without a screen: text and JSON."""
