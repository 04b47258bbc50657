"""Cellar: typed settings and one YAML a run. Imports none of the floors."""
