"""See the architecture: this room is being furnished."""
