"""What the shop's customers think of its products."""
