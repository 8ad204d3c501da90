"""Pictures in files, drawn by Matplotlib. Needs the extra ``plot``: ``pip install 'isocalc[plot]'``."""
# ruff: noqa: PLC0415 - matplotlib is optional

import io
import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from isocalc.display.figure import Axis, Bars, Field, Figure, Line, Note, Panel, Rule, Stem
from isocalc.display.layout import DOTS_PER_INCH, NAMED_ROW, PRINTED, WIDTH
from isocalc.errors import InvalidInputError
from isocalc.files import check_writable, replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes


FORMATS = ("png", "svg", "pdf")
_DASHES: dict[str, Any] = {
    "solid": "-",
    "dashed": (0, (5, 2)),
    "dotted": (0, (1, 1.3)),
    "dashdot": "-.",
    "none": "",
}
_MARKERS = "os^Dv*Px"
_GREY = "0.35"
_RC = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "isocalc",
    "pdf.fonttype": 42,
    "axes.unicode_minus": False,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Of ratios, each with its inverse.
_TICKS, _FINE_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)


def check_picture(path: str) -> None:
    """Raise InvalidInputError where no picture could be written to ``path``; leave nothing behind."""
    if _format(path) not in FORMATS:
        rule = "a file that ends in .png, .svg or .pdf, or - for the terminal"
        raise InvalidInputError("plot", rule, path)
    if find_spec("matplotlib") is None:
        rule, advice = "given with matplotlib installed", "Install it: pip install 'isocalc[plot]'."
        raise InvalidInputError("plot", rule, path, advice, ("draw in the terminal",))
    check_writable(path, "plot")


def write_picture(figure: Figure, path: str) -> None:
    """Draw a figure to a file, which is replaced as a whole or not at all.

    Raises
    ------
    OSError
        The file cannot be written; ``filename`` names it.
    """
    replace_file(path, picture(figure, _format(path)))


def picture(figure: Figure, form: str) -> bytes:
    """Return a figure as ``png``, ``svg`` or ``pdf``, the same bytes for the same figure."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of a first run's caches
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    stream = io.BytesIO()
    with mpl.rc_context(_RC):  # type: ignore[arg-type] # its stubs list the names that it takes
        heights = [0.8 + NAMED_ROW * len(panel.rows) if panel.rows else 2.4 for panel in figure.panels]
        height = sum(heights) + 0.3 + 0.15 * len(figure.caption) / 90
        canvas = Canvas((WIDTH, max(height, 3.2)), layout="constrained")
        grid = canvas.subplots(len(heights), squeeze=False, height_ratios=heights)
        canvas.suptitle(figure.title, fontsize=10, x=0.02, ha="left", wrap=True)
        for axes, panel in zip(grid[:, 0], figure.panels, strict=True):
            _draw(axes, panel)
        if figure.caption:
            canvas.supxlabel(_wrapped(figure.caption), fontsize=7.5, x=0.02, ha="left", color="0.25")
        dates = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
        canvas.savefig(stream, format=form, dpi=DOTS_PER_INCH, metadata=dates[form])
    return _small(stream) if form == "png" else stream.getvalue()


def _small(stream: io.BytesIO) -> bytes:
    """Return a PNG with a palette, a third of the size of one without."""
    from PIL import Image

    small = io.BytesIO()
    with Image.open(stream) as image:
        # Of colours, not of areas: the scale beside a map keeps those that the map has not.
        palette = image.convert("RGB").quantize(
            256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        palette.save(small, "png", optimize=True, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return small.getvalue()


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.fill(line, 110) for line in text.split("\n"))


def _format(path: str) -> str:
    return PurePath(path).suffix.lower().removeprefix(".")


def _draw(axes: "Axes", panel: Panel) -> None:
    axes.set(xlabel=panel.x.label, ylabel=panel.y.label)
    if panel.title:
        axes.set_title(panel.title, loc="left")
    for axis, scale, limits in (
        (panel.x, axes.set_xscale, axes.set_xlim),
        (panel.y, axes.set_yscale, axes.set_ylim),
    ):
        scale("log" if axis.log else "linear")
        if axis.ends is not None:
            limits(*axis.ends)
    for mark in panel.marks:
        _DRAW[type(mark)](axes, mark)
    _tick(axes.xaxis, panel.x)
    _tick(axes.yaxis, panel.y)
    if any(isinstance(mark, Stem) for mark in panel.marks):
        masses = axes.twinx()
        masses.set(ylim=(0, 1), ylabel="point mass", yticks=(0, 0.5, 1))
        masses.spines["right"].set_visible(True)
    if panel.rows:
        axes.set_yticks(range(len(panel.rows)), panel.rows)
        axes.set_ylim(len(panel.rows) - 0.5, -0.5)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
    _explain(axes, beside=bool(panel.rows) or panel.y.log)


def _explain(axes: "Axes", *, beside: bool) -> None:
    """Add a legend where something has a label; long ones go beside the panel."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 4 or (handles and beside):
        axes.legend(handles, labels, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    elif handles:
        axes.legend(handles, labels, framealpha=0.8, edgecolor="none")


def _tick(ticks: Any, axis: Axis) -> None:
    """Choose the numbers at an axis: 0.5 and not 5e-1, whole layers, 1, 2 and 5 where decades are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if axis.log:
        low, high = ticks.get_view_interval()
        few = high < 300 * low
        ticks.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ticks.set_minor_formatter(NullFormatter())
    elif axis.whole:
        ticks.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def _draw_line(axes: "Axes", line: Line) -> None:
    from matplotlib.colors import to_rgb

    colour = PRINTED[line.colour % len(PRINTED)]
    marker = _MARKERS[line.colour % len(_MARKERS)] if line.points else ""
    dash = _DASHES[line.style]
    form = {"marker": marker, "linestyle": dash, "color": colour, "markersize": 3.5, "linewidth": 1.5}
    axes.plot(line.x, line.y, label=line.label or None, **form)
    if line.fill:
        # Lighter, not transparent: not every viewer of SVG knows transparency.
        pale = tuple(1 - 0.15 * (1 - part) for part in to_rgb(colour))
        axes.fill_between(line.x, line.y, color=pale, linewidth=0, zorder=0)


def _draw_bars(axes: "Axes", bars: Bars) -> None:
    axes.stairs(
        bars.heights, bars.edges, fill=True, facecolor="0.82", edgecolor="0.6", label=bars.label or None
    )


def _draw_stem(axes: "Axes", stem: Stem) -> None:
    colour = PRINTED[stem.colour % len(PRINTED)]
    across = axes.get_xaxis_transform()
    axes.plot([stem.x] * 2, [0, stem.mass], "-", transform=across, color=colour, lw=2.2, clip_on=False)
    marker = _MARKERS[stem.colour % len(_MARKERS)]
    axes.plot(
        [stem.x],
        [stem.mass],
        marker,
        transform=across,
        color=colour,
        markersize=6,
        clip_on=False,
        label=stem.label or None,
    )


def _draw_rule(axes: "Axes", rule: Rule) -> None:
    colour = _GREY if rule.colour is None else PRINTED[rule.colour % len(PRINTED)]
    draw = axes.axvline if rule.axis == "x" else axes.axhline
    draw(rule.at, color=colour, linewidth=0.8, linestyle=(0, (1, 2)), label=rule.label or "_edge")


def _draw_field(axes: "Axes", field: Field) -> None:
    import numpy as np
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FixedLocator, NullLocator

    values = np.ma.masked_invalid(np.asarray(field.values, dtype=float))
    reach = field.reach
    low, high = float(values.min()) < 1 / reach, float(values.max()) > reach
    # A value of 0 has the colour of all that is below the scale.
    shown = np.ma.maximum(values, 1e-3 / reach)
    axes.set_facecolor("0.75")
    mesh = axes.pcolormesh(
        field.x,
        field.y,
        shown,
        cmap="PuOr",
        norm=LogNorm(1 / reach, reach),
        shading="nearest",
        rasterized=True,
    )
    figure = axes.get_figure()
    assert figure is not None  # noqa: S101 - axes are made by a figure
    extend: Any = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[low, high]
    bar = figure.colorbar(mesh, ax=axes, label=f"{field.label}, log scale about 1", pad=0.02, extend=extend)
    ticks = [tick for tick in (_FINE_TICKS if reach < _TICKS[-2] else _TICKS) if 1 / reach <= tick <= reach]
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.set_yticklabels([f"{tick:g}" for tick in ticks])


def _draw_note(axes: "Axes", note: Note) -> None:
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
    axes.text(note.x, note.y, note.text, ha="center", va="center", fontsize=9, bbox=box)


_DRAW: dict[type, Callable[[Any, Any], None]] = {
    Line: _draw_line,
    Bars: _draw_bars,
    Stem: _draw_stem,
    Rule: _draw_rule,
    Field: _draw_field,
    Note: _draw_note,
}
