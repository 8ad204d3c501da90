"""The numbers of this room: time, memory, and what a product of layers may lose.

Imports nothing, since worker processes read it before NumPy loads.
"""

# Seconds.
# Work that this process does itself: starting a worker takes 0.2 s, and Ctrl-C may have to wait for so much.
SMALL_WORK = 0.5
# From one report of a worker to the next.
REPORT_EVERY = 0.1
# From one commit of a checkpoint to the next, each of which waits for the disk.
SAVE_EVERY = 1.0
# For what answers at once: the lock of a checkpoint that another process only looks at, a cluster given up.
BRIEFLY = 0.2
# For a scheduler to answer, and for its first worker.
CLUSTER_PATIENCE = 5
# For a worker to load what it is to compute, and for one to come where all are gone.
CLUSTER_LOADING = 60

# Seconds of one core, as measured: of a layer; of each weight, drawn and used; of each of the N³ parts of a
# layer's product and of the singular values at the end.
LAYER_SECONDS, WEIGHT_SECONDS = 2e-5, 1e-8
RESIDUAL_SECONDS = (5e-11, 3e-10)
# Products of feed-forward layers are factorised on the way, and their singular values rotated out.
FEED_FORWARD_SECONDS = (1e-10, 1.7e-9)

# Square matrices held at once, at most (10.04 measured, while a product is factorised).
MATRICES = 11
# Those beside a hidden layer, and its own of N by ρN.
BESIDE_HIDDEN, HIDDEN = 4, 4

# Condition number of a product at which it is factorised, and one beyond which it was multiplied too far:
# its square is within 1e14, so that a Gram matrix has two digits of the smallest singular value.
ENOUGH, TOO_FAR = 3e5, 1e7
# A float32 product keeps three digits of a singular value this far below the largest.
RESOLVED = 1e4
# A stretch without factorisation grows at most by this factor between two looks at it.
STRIDE = 4
# Powers of two by which tangents may grow or shrink before they are rescaled.
HEADROOM = 30
# At such a share of its length a φ that has a slope on either side of 0 is straight there, to rounding.
FAINT = {"float64": 1e-20, "float32": 1e-12}

# A port number has 16 bits.
MOST_PORT = 2**16 - 1
