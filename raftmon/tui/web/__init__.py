"""The TUI in a browser: `server` hands out the page and starts an app process (`tab`, `driver`) for each tab."""
