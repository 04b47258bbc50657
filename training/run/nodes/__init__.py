"""A cluster's nodes: room for a run's parts, what every node has to see, what runs where, what killed runs left."""
