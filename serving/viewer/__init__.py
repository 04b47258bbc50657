"""Runs as a person looks at them: the run's folder, where a step's time went, the pages. Imports http."""
