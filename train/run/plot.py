"""The learning curve of a run as a picture: losses above, shares right below, learning rate beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Point = dict[str, float]
LOSSES = ("train_loss", "valid_loss")
SHARES = ("accuracy", "exact", "unreadable")
_COLOURS = ("#1f4e79", "#c55a11", "#548235")
_DASHES = ("-", "-", "--")  # exact and unreadable may both be 0


def draw_curves(points: Sequence[Point], path: Path, title: str) -> bool:
    """Write a PNG of these points of a run; False where matplotlib is not installed or there is nothing to draw."""
    try:
        from matplotlib.figure import Figure  # an extra: mathpipe[plots]
        from matplotlib.ticker import NullFormatter, StrMethodFormatter
    except ImportError:
        return False
    shown = [names for names in (LOSSES, SHARES) if any(name in point for point in points for name in names)]
    if not shown:
        return False
    figure = Figure(figsize=(8, 3.2 * len(shown) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for panel, names in zip(panels, shown, strict=True):
        for name, colour, dashes in zip(names, _COLOURS, _DASHES, strict=False):
            found = [(point["step"], point[name]) for point in points if name in point]
            if found:
                panel.plot(
                    *zip(*found, strict=True),
                    label=name.replace("_", " "),
                    color=colour,
                    linestyle=dashes,
                    linewidth=1.5,
                )
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, fontsize=9)
        if names is LOSSES:
            panel.set_ylabel("nats a word")
            panel.set_yscale("log")
            low, high = panel.get_ylim()
            panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            panel.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}") if high < 30 * low else NullFormatter())
        else:
            panel.set_ylabel("share of problems")
            panel.set_ylim(-0.02, 1.02)
    panels[-1].set_xlabel("step")
    temporary = path.with_suffix(".tmp")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(path)
    return True
