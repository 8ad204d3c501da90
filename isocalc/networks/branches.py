"""What stands beside the skip connection in each kind of residual block, and what follows from it.

A branch is a short chain of steps. What other rooms ask follows from their order: where gates stand, which
scales there are, how it is written. So nobody need ask for a block by its name.
"""

from typing import Literal, NamedTuple

Block = Literal["post", "pre", "preln"]
Step = Literal["layer_norm", "linear", "act"]

_SCALES = ("sigma_w", "sigma_w2")
HIDDEN_OPTIONS = ("hidden_ratio", "sigma_w2")
"""Parameters of a network that belong to branches with a hidden layer"""


class Branch(NamedTuple):
    """The branch of residual blocks ``x' = a x + branch(x)``, of feed-forward layers with a = 0."""

    block: Block
    title: str
    """What precedes the word "blocks" in a sentence"""
    steps: tuple[Step, ...]
    """From the input on; the first matrix has biases"""

    @property
    def scales(self) -> tuple[str, ...]:
        """Names of the scales of its matrices, in the order of the matrices."""
        return _SCALES[: self.steps.count("linear")]

    @property
    def scale(self) -> str:
        """Name of the scale of the last matrix, which multiplies the branch where φ does not follow."""
        return self.scales[-1]

    @property
    def has_hidden_layer(self) -> bool:
        """Whether there are two matrices, with ρN neurons between them."""
        return len(self.scales) > 1

    @property
    def options(self) -> tuple[str, ...]:
        """Parameters of a network that belong to this branch and not to all."""
        return HIDDEN_OPTIONS if self.has_hidden_layer else ()

    @property
    def normalises(self) -> bool:
        """Whether LayerNorm comes first: hidden gates do not know the signal's size, nor its mean."""
        return self.steps[0] == "layer_norm"

    @property
    def acts_on_stream(self) -> bool:
        """Whether φ takes the stream x itself: q is then its variance, not that of a pre-activation.

        The gates of one neuron in different layers are then correlated.
        """
        return self.steps[0] == "act"

    @property
    def acts_last(self) -> bool:
        """Whether no matrix follows φ: gates of all layers then stand at the entries of x, and commute."""
        return self.steps[-1] == "act"

    @property
    def hides_gates(self) -> bool:
        """Whether fresh matrices stand before and after all gates, so that layers are free at any depth."""
        return not (self.acts_on_stream or self.acts_last)

    def formula(self, phi: str = "phi", layer_norm: str = "LayerNorm") -> str:
        """Return the branch as it is written, such as ``phi(W x + b)``."""
        text, matrices = "x", 0
        for step in self.steps:
            if step == "linear":
                matrices += 1
                number = str(matrices) if self.has_hidden_layer else ""
                text = f"W{number} {text}" + (" + b" if matrices == 1 else "")
            else:
                text = f"{phi if step == 'act' else layer_norm}({text})"
        return text


POST = Branch("post", "post-activation", ("linear", "act"))
PRE = Branch("pre", "pre-activation", ("act", "linear"))
PRE_LAYER_NORM = Branch("preln", "pre-LayerNorm", ("layer_norm", "linear", "act", "linear"))

BRANCHES: dict[str, Branch] = {branch.block: branch for branch in (POST, PRE, PRE_LAYER_NORM)}


def owners(option: str) -> str:
    """Return the names of the blocks to which a parameter of a network belongs, in words."""
    return " and ".join(name for name, branch in BRANCHES.items() if option in branch.options)
