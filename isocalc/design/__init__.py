"""Inverse problems: the scales that give a wanted spectrum, gains, schemes in use, and code to paste."""
