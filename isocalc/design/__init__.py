"""The inverse problem: networks for a wanted spectrum, gains, schemes in use, code to paste.

`initialize` finds the scale of the weights for a parameter c or for edges of the law; `gains` and `schemes`
are what people use instead; `source_code` writes a network in PyTorch, JAX or NumPy.
"""
