"""The commands of raftmon: each parses, calls and prints; what it needs is imported when it runs."""
