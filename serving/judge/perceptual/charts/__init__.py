"""What a chart has and a page has not: plotting areas, how they are laid on each other, legends, text by its shapes.
Imports the text lines of `perceptual.text` and nothing else of this repository."""
