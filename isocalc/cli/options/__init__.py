"""Options as ready-made objects that commands stack, each declared once.

`types` says what the values of options may look like. `network` has the options that describe networks and
makes networks of them, `law` those that choose a law, `run` trials, workers and checkpoints, `output`
formats, files and pictures, `init` what is wanted of a solution. None imports what computes before a
command runs.
"""
