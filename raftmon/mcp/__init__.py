"""What agents may ask, as read-only tools of the Model Context Protocol (extra `mcp`)."""
