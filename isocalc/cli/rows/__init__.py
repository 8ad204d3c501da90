"""From results of the library to rows of tables."""
