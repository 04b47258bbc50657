"""Two pictures in, similarity and feedback out: perceptual and vision-language judges. Imports http."""
