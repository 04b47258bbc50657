"""What a policy makes of its turns: repairs of injected faults, and turns against independent answers. Imports what
`training.evaluation` may import."""
