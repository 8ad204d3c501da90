"""``isocalc guide``: the manual, a topic at a time."""

import sys
from pathlib import Path

import click

import isocalc
from isocalc.cli.command import Guided
from isocalc.cli.options.types import OneOf

FOLDER = Path(isocalc.__path__[0], "guide")
TOPICS = {
    "tour": "What the singular values are, and what people ask of them.",
    "initialisation": "Choose the scales of the weights, and get the code.",
    "laws": "Which law fits which network, and how far it is off.",
    "simulation": "Hold real networks against the law; long runs.",
    "pytorch": "Measure a PyTorch module of your own.",
    "output": "Tables, files, sweeps, pictures, exit codes, completion.",
    "python": "The same in Python.",
    "glossary": "The words and the columns: c, kappa, gate, KS, outlier, ...",
    "theory": "Every equation that is solved, numbered, with its source.",
    "changes": "What is new.",
    "contributing": "The rooms of the code, and how to add to them.",
}


class _WithTopics(Guided):
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Topics"):
            formatter.write_dl(list(TOPICS.items()))
        super().format_options(ctx, formatter)


@click.command(
    name="guide",
    cls=_WithTopics,
    epilog="""\b
Examples:
  isocalc guide
  isocalc guide tour
  isocalc guide theory | less
""",
)
@click.argument("topic", metavar="[TOPIC]", type=OneOf(list(TOPICS)), required=False)
def command(topic: str | None) -> None:
    """Read the manual: the topic that is given, or the list of topics.

    A terminal gets it laid out, a pipe the Markdown as it is.
    """
    from isocalc.display.writer import print_text  # noqa: PLC0415 - --help must not pay for it

    if topic is None:
        print_text(_listed())
        return
    text = (FOLDER / f"{topic}.md").read_text(encoding="utf-8")
    if sys.stdout is not None and sys.stdout.isatty():
        from isocalc.display.terminal import markdown_text  # noqa: PLC0415 - loads Rich

        text = markdown_text(text, sys.stdout)
    print_text(text)


def _listed() -> str:
    longest = max(map(len, TOPICS))
    lines = [f"  {name:<{longest}}  {about}\n" for name, about in TOPICS.items()]
    return f"isocalc guide TOPIC, where TOPIC is one of\n\n{''.join(lines)}"
