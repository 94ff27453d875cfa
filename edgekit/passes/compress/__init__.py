"""Compress: fewer channels, fewer products, fewer different weights; each technique a pass of its own in a room of its own."""
