"""Logdirs in a bucket or on another machine, mirrored into a private local directory."""
