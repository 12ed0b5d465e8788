"""Points for the shop's loyal customers."""
