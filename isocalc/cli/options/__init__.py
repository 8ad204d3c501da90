"""Options as ready-made objects that commands stack, each declared once."""
