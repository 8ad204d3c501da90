"""The numbers of this room: how much is computed, and when what is found in a module counts as the same."""

# How much is computed.
# Sides of a Jacobian, the smaller one, up to which it is formed: its factorisation takes O(side²) memory and
# O(side³) time. Beyond, so many of the largest singular values are found.
MOST_DENSE, VALUES_FOUND = 4096, 16
# Matrices of the Jacobian's size, of doubles: itself, its double and what a factorisation takes.
COPIES = 4
# Numbers, and rows of a Jacobian, that PyTorch computes at once: it holds all activations for each row.
CHUNK_NUMBERS, CHUNK_ROWS = 2**24, 512
# Inputs of which batch normalisation takes the statistics.
CALIBRATING = 256
# Sides of weights up to which their second moment is exact. Beyond, it is that of `SAMPLE` vectors of signs,
# which find it to 2 % or better, and exactly where the singular values are all the same.
EXACT = 256
# Vectors, or rows and columns, that stand for all of a matrix.
SAMPLE = 64

# Relative differences of two numbers that are the same: of element-wise functions; of a module and the layers
# read from it, in double precision, and in units of its rounding.
SAME_FUNCTION = 1e-8
SAME_OUTPUT, ROUNDINGS = 1e-5, 3e4
# Singular values within this factor of the rounding of the largest are computed again, layer by layer.
FAINT = 1e4
# Largest weights and biases, and inverse of the smallest, whose fourth powers fit a double, and sums of them.
LARGEST_WEIGHT = 1e70

# Standard errors from 0, or from each other, that are too many, and the chance of a mistake where the law of
# what is estimated is known: that independent entries look orthogonal.
TOO_FAR, MISTAKEN = 6.0, 1e-6
# Share of a mean square that is left out, or by which those of several inputs differ.
NEGLIGIBLE = 0.01
# Relative difference of scales of weights that are one scale.
ALIKE = 0.02
# Of pre-activations, excess kurtosis that biases may add.
SMALL_KURTOSIS = 0.05
# Of the spread of squared singular values, 0 for orthogonal weights and 1 for independent entries: what is
# orthogonal, how far from 1 is independent, and how much farther in so many rows.
ORTHOGONAL, INDEPENDENT, FEW = 0.02, 0.1, 12.0
# Fourth moment over the squared second one above which entries are not those of random rotations, 3 at most.
PEAKED = 6.0
# Neurons of a layer that are too few for a law of large widths, or for telling what law its entries have.
NARROW = 2
