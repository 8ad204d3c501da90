"""The user's own PyTorch module: loaded, traced, recognised, measured. The only room that imports torch.

In the order of the work: `module` loads and builds it and calls it once; `tracing` says what it computes, as
weights, sums and element-wise functions; `layers` reads layers and residual blocks from that, and checks that
they do what the module does; `weight_scales` measures their weights and biases; `recognition` says which
network with a law they are. Beside that, `jacobian` has the singular values of the module as it is, and
`measure` holds the ones against the other. The room's numbers are in `tolerances`.
"""
