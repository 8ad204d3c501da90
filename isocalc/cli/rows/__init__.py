"""From results of the library to rows of tables.

One module for what is shown: `param` signals and fixed points, `laws` densities and summaries, `init`
solutions, `simulations` singular values and verdicts. Each returns columns and rows, one row for each network
of a sweep with what went wrong in its column ``status``; `isocalc.display` writes them.
"""
