"""A small shop that takes plugins."""
