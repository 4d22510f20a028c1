"""The sidecar that runs for months: `service.py` follows logdirs, and hands what happened to the sinks beside it."""
