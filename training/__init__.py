"""Top floor: learns. Imports serving, actors and configs."""
