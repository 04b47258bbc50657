"""ALL code that runs inside the jail: standard library and drawing libraries only; imports nothing else of rrvf."""
