"""Floor 4: readings and rules become findings, findings a verdict, a verdict advice."""
