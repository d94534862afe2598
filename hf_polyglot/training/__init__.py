"""Training: the arguments, the trainer, and runs over several seeds."""
