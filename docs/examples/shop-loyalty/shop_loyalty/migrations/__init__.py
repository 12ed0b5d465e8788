"""The database history of the loyalty points."""
