"""Middle floor: offers rendering, judging and inference. Imports actors and configs."""
