"""What the looking commands print, one noun a module: words for people, objects for tools."""
