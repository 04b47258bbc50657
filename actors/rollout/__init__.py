"""From one image to a finished group: Algorithm 1, its reward, and the actor that runs many. Imports the queue."""
