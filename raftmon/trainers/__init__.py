"""A trainer's config file: what it is, where its learning rate stands, and how to change that and nothing else."""
