"""What differs between a target and a render, in words. Reads the comparison of `perceptual.score`; only
`perceptual` itself imports it, and training reads one constant."""
