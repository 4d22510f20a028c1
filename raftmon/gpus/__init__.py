"""The GPUs of this machine: what they do while runs are live."""
