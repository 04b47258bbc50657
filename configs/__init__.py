"""Typed settings and one YAML a run: what runs. Imports none of the floors."""
