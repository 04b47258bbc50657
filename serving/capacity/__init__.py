"""Planning a run before there is hardware for it: a simulator of the whole system. Imports `serving.viewer` alone."""
