"""The user's own PyTorch module: loaded, traced, recognised, measured. The only room that imports torch."""
