"""φ and φ': the catalogue, expressions of x, functions of the user's own, and their Gaussian averages.

An activation is data (`definition`): two functions and what exact averages over them need to know
(`averages`). To add one to the catalogue, write its formula in `formulas` and its row in `catalogue`; help,
completion and the tests over all activations follow. By hand: how it is written in code to paste
(`design.source_code.SPELLINGS`), which operation of PyTorch it is (`pytorch.tracing`, ``_OPERATIONS``), and
its formula in mpmath, which the tests compare with (``tests/naive/activations.py``). `expressions` is the
language of activations as text, `own` has functions of the user's.
"""
