"""Pictures to learn from, and the embedded policy. Imports nothing else of training."""
