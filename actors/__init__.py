"""Ground floor: experiences. Imports nothing above it but configs."""
