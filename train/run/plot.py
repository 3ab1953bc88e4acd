"""Plot of the learning curve of a run: losses above, proportions of correct solutions below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Point = dict[str, float]
LOSSES = ("train_loss", "valid_loss")
PROPORTIONS = ("accuracy", "exact", "invalid")
_COLOURS = ("#1f4e79", "#c55a11", "#548235")
_DASHES = ("-", "-", "--")  # dashed, because exact and invalid may coincide at 0


def plot_curves(points: Sequence[Point], path: Path, title: str) -> bool:
    """Plot these points as a PNG; False if matplotlib is not installed or there is nothing to plot."""
    try:
        from matplotlib.figure import Figure  # an extra: mathpipe[plots]
        from matplotlib.ticker import NullFormatter, StrMethodFormatter
    except ImportError:
        return False
    panel_names = [names for names in (LOSSES, PROPORTIONS) if any(name in point for point in points for name in names)]
    if not panel_names:
        return False
    figure = Figure(figsize=(8, 3.2 * len(panel_names) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(len(panel_names), 1, sharex=True, squeeze=False)[:, 0]
    for panel, names in zip(panels, panel_names, strict=True):
        for name, colour, dashes in zip(names, _COLOURS, _DASHES, strict=False):
            curve = [(point["step"], point[name]) for point in points if name in point]
            if curve:
                panel.plot(
                    *zip(*curve, strict=True),
                    label=name.replace("_", " "),
                    color=colour,
                    linestyle=dashes,
                    linewidth=1.5,
                )
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, fontsize=9)
        if names is LOSSES:
            panel.set_ylabel("nats per token")
            panel.set_yscale("log")
            low, high = panel.get_ylim()
            panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            panel.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}") if high < 30 * low else NullFormatter())
        else:
            panel.set_ylabel("proportion of problems")
            panel.set_ylim(-0.02, 1.02)
    panels[-1].set_xlabel("step")
    temporary = path.with_suffix(".tmp")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(path)
    return True
