"""Source in, picture or failure out: charts and pages, and the Serve deployment of both. Imports jailed."""
