"""The database history of the reviews."""
