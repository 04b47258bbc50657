"""From groups of trajectories to new weights: the loop, GRPO, packing, the model, weight sync. Imports run."""
