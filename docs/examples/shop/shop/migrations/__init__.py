"""The database history of the shop's core."""
