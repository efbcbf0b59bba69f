"""A report drawn: ratios, lists, how long answers took, and memory, each a PNG."""

import math
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from tests.benchmarks.figures import (
    API_MEGABYTES,
    SERVICES,
    TIMES,
    Distribution,
    Report,
    Who,
    number_words,
)
from tests.benchmarks.load import PERCENTILES

_COLOURS: Final[dict[Who, str]] = {"ours": "#1b7f5c", "peer": "#c2703d", "bare": "#7a7f87"}
_NAMES: Final[dict[Who, str]] = {"ours": "ours", "peer": "the peer", "bare": "the bare framework"}
_MISSED: Final = "#b3261e"
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e5e8",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
}


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw what there are figures for; the files."""
    made: list[Path] = []
    drawings = {
        "ratios": _ratios,
        "lists": _lists,
        "latencies": _latencies,
        "memory": _memory,
    }
    with mpl.rc_context(_STYLE):
        for name, drawing in drawings.items():
            figure = drawing(report)
            file = folder / f"{name}.png"
            file.unlink(missing_ok=True)
            if figure is not None:
                figure.savefig(file, dpi=140, bbox_inches="tight", facecolor="white")
                made.append(file)
    return made


def _ratios(report: Report) -> Figure | None:
    """How many times as good as what stands beside, and where the target is."""
    rows = [row for row in report.rows if row.ratio is not None][::-1]
    if not rows:
        return None
    figure, axes = _sheet(9, 1.2 + 0.36 * len(rows))
    places = range(len(rows))
    ratios = [row.ratio or 0.0 for row in rows]
    colours = [_MISSED if row.reached is False else _COLOURS["ours"] for row in rows]
    axes.barh(places, ratios, color=colours, height=0.62)
    axes.set_xscale("log")
    beside_the_bars = axes.get_yaxis_transform()
    for place, row, ratio in zip(places, rows, ratios, strict=True):
        label = f"{number_words(ratio)}{TIMES}"
        axes.text(1.01, place, label, va="center", fontsize=9, transform=beside_the_bars)
        to_reach = row.target.ratio if row.target else None
        if to_reach:
            axes.plot(
                [to_reach, to_reach],
                [place - 0.42, place + 0.42],
                color="black",
                linewidth=1.8,
                zorder=3,
            )
    axes.set_yticks(places, [f"{row.what}  vs {row.beside_what}" for row in rows])
    axes.axvline(1, color="#7a7f87", linewidth=0.8)
    wanted = [row.target.ratio for row in rows if row.target and row.target.ratio]
    axes.set_xlim(min(0.1, *ratios) * 0.9, max(1, *ratios, *wanted) * 1.2)
    _tick(axes.xaxis, TIMES)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_title(
        "How many times as good as what stands beside (black line: to reach; red: missed)"
    )
    return figure


def _lists(report: Report) -> Figure | None:
    """p99 of each list, ours and the peer's, on one line."""
    rows = [row for row in report.rows if row.stage in ("lists", "pages") and row.beside][::-1]
    if not rows:
        return None
    figure, axes = _sheet(9, 1.4 + 0.36 * len(rows))
    for place, row in enumerate(rows):
        ours, theirs = row.ours or 0.0, row.beside or 0.0
        axes.plot([ours, theirs], [place, place], color="#c9ccd1", linewidth=2, zorder=1)
        for who, value in zip(SERVICES, (ours, theirs), strict=True):
            label = _NAMES[who] if place == 0 else None
            axes.scatter([value], [place], color=_COLOURS[who], s=46, zorder=2, label=label)
            shift, side = ((-8, "right"), (8, "left"))[value >= max(ours, theirs)]
            axes.annotate(
                number_words(value),
                (value, place),
                (shift, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=9,
            )
        most = row.target.at_most if row.target else None
        if most:
            label = "to reach" if place == 0 else None
            # Below the line, where no number is.
            below = place - 0.3
            axes.scatter([most], [below], marker="^", color="black", s=28, zorder=3, label=label)
    axes.set_xscale("log")
    values = [value for row in rows for value in (row.ours, row.beside) if value]
    axes.set_xlim(min(values) / 2.5, max(values) * 2.5)
    _tick(axes.xaxis)
    axes.set_yticks(range(len(rows)), [_short(row.what) for row in rows])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("milliseconds, of which 99 of 100 answers took less")
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_title(f"Lists at {report.sizes['customers']:,} customers, 4 connections")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False)
    return figure


def _latencies(report: Report) -> Figure | None:
    """How long the answers took of each measure that is no list, by percentile."""
    whats = list(
        dict.fromkeys(
            one.what for one in report.distributions if one.stage not in ("lists", "pages")
        )
    )
    if not whats:
        return None
    columns = min(2, len(whats))
    lines = -(-len(whats) // columns)
    figure = Figure(figsize=(4.8 * columns, 3.1 * lines), layout="constrained")
    sheets = figure.subplots(lines, columns, squeeze=False).flat
    for axes, what in zip(sheets, whats, strict=False):
        _one_latency(axes, [one for one in report.distributions if one.what == what], what)
    for axes in list(figure.axes)[len(whats) :]:
        axes.remove()
    lines_of = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(lines_of.values(), lines_of, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _one_latency(axes: Axes, found: list[Distribution], what: str) -> None:
    # Beyond 99 each step to the right is as rare again.
    places = [_rarity(percent) for percent in PERCENTILES[:-1]]
    for one in found:
        axes.plot(places, one.milliseconds[:-1], color=_COLOURS[one.who], label=_NAMES[one.who])
    axes.set_yscale("log")
    _tick(axes.yaxis)
    ticks = (50, 90, 99, 99.9)
    axes.set_xticks([_rarity(one) for one in ticks], [f"p{one:g}" for one in ticks])
    axes.set_xlim(0, _rarity(99.9))
    axes.set_title(_short(what))
    axes.set_ylabel("ms")


def _rarity(percent: float) -> float:
    """How far to the right: 90 of 100 at 1, 99 at 2, 99.9 at 3."""
    return -math.log10(1 - percent / 100)


def _memory(report: Report) -> Figure | None:
    """What each process held."""
    if not report.memory:
        return None
    figure, axes = _sheet(9, 4)
    for one in report.memory:
        minutes = [second / 60 for second in one.seconds]
        axes.plot(minutes, one.megabytes, label=one.process)
    axes.axhline(API_MEGABYTES, color="black", linewidth=0.9, linestyle="--")
    axes.annotate(
        "the API's limit", (0, API_MEGABYTES), (4, 4), textcoords="offset points", fontsize=9
    )
    axes.set_ylim(
        0, max(1.1 * API_MEGABYTES, *(1.08 * max(one.megabytes) for one in report.memory))
    )
    axes.set_xlim(left=0)
    axes.set_xlabel("minutes of load")
    axes.set_ylabel("resident memory, MB")
    axes.set_title("Memory of each process")
    axes.legend(frameon=False)
    return figure


def _short(what: str) -> str:
    return what.removesuffix(", p99").removesuffix(", p50")


def _tick(axis: Axis, unit: str = "") -> None:
    """Names at 1, 2 and 5 of each power of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:,g}{unit}")
    axis.set_minor_locator(NullLocator())


def _sheet(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()
