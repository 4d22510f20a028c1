"""Floor 2: event files and their neighbours on disk become runs and campaigns."""
