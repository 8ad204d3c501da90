"""How much commands draw and do at once, each number with its unit and reason."""

# Pictures: as many as can be told apart.
MOST_LAWS = 8  # densities over each other
MOST_PREVIEWED = 4  # the same, unasked, in the small picture above a table
MOST_SIMULATIONS = 6  # histograms below each other
MOST_DIAGRAMS = 4  # phase diagrams below each other
MOST_LINES = 8  # critical lines
MOST_LAYERS = 2000  # points of a curve along the layers: more than columns of dots
COARSE, FINE = 200, 600  # points of a density: more than columns of dots in a terminal, in a file
MARGIN = 0.1  # room beside critical networks, over how far they reach

# Tables.
TRAPEZOIDS = 200  # points from which on a trapezoid sum of the density should be right
OFF_BY = 1e-3  # of the mass: what such a sum may be off by without a word
FEW_PATHS = 256  # gate paths of the exact law in tables of many networks: a quarter of those of one

# Fixed points of feed-forward networks.
LONG = 10_000  # layers after which the variance is near its fixed point
