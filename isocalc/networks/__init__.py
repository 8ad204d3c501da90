"""Descriptions of random networks, validated when they are made; no computation."""
