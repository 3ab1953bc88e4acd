"""The scale of a plot of proportions: failures of a nearly perfect model are far from the edge; labels tell 99.96 % from 100 %."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.evaluate.analyze.analysis import Analysis, Chart
from mathpipe.evaluate.report.charts import render_chart
from mathpipe.evaluate.report.scales import LinearScale, LogitScale, choose_scale, format_share, positive_scale


@pytest.mark.parametrize(
    ("proportion", "text"),
    [
        (0.0, "0.0%"), (0.00001, "0.001%"), (0.0004, "0.04%"), (0.003, "0.3%"), (0.5, "50.0%"), (0.949, "94.9%"),
        (0.9987, "99.9%"), (0.9996, "99.96%"), (0.99987, "99.987%"), (0.999999, "99.9999%"), (1.0, "100.0%"),
        (float("nan"), "–"),
    ],
)  # fmt: skip
def test_shares_have_the_digits_that_tell_them_from_0_and_1(proportion: float, text: str) -> None:
    assert format_share(proportion) == text


@given(st.floats(1e-6, 1 - 1e-6), st.integers(0, 2))
def test_no_share_inside_is_shown_as_all(proportion: float, digits: int) -> None:
    assert float(format_share(proportion, digits)[:-1]) < 100


def test_a_model_far_from_perfect_has_a_linear_scale() -> None:
    assert choose_scale([0.2, 0.5]) == LinearScale(0.6)
    assert choose_scale([0.0, 0.004]) == LinearScale(0.01)
    assert choose_scale([0.2, 0.5], [1.0]) == LinearScale(1.0), "a perfect reference beside it does not choose"
    assert choose_scale([1.0, 1.0]) == LinearScale(1.0), "nothing but perfect, without intervals"
    assert choose_scale([]) == LinearScale(1.0)


def test_failures_of_a_nearly_perfect_model_can_be_seen() -> None:
    values = [0.9, 0.99, 0.999, 0.9999]
    scale = choose_scale(values)
    assert isinstance(scale, LogitScale)
    positions = [scale.position(value) for value in values]
    steps = [b - a for a, b in itertools.pairwise(positions)]
    assert min(steps) > 0.2 and max(steps) < 0.35, "a tenth of the failures is about the same distance everywhere"
    assert [label for _, label in scale.ticks()] == ["90%", "99%", "99.9%", "99.99%"]


def test_0_and_1_lie_on_the_edges_and_are_labelled() -> None:
    scale = choose_scale([0.0, 0.5, 0.97, 1.0])
    assert (scale.position(0.0), scale.position(1.0)) == (0.0, 1.0)
    assert scale.ticks()[0][1] == "0%"
    assert scale.ticks()[-1] == (1.0, "100%")
    assert choose_scale([0.00001, 0.99]).ticks()[0] == (0.001, "≤0.1%")
    rare = choose_scale([0.0, 0.00002, 0.99], lowest=0.00001)
    assert rare.ticks()[0][1] == "0%" and 0.02 < rare.position(0.00002) < 0.2


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_larger_proportions_are_never_lower(values: list[float]) -> None:
    scale = choose_scale(values)
    positions = [scale.position(value) for value in sorted(values)]
    assert positions == sorted(positions) and positions[0] >= 0 and positions[-1] <= 1
    ticks = [value for value, _ in scale.ticks()]
    assert ticks == sorted(ticks)


def test_calibration_of_a_nearly_perfect_model_has_one_logit_scale_on_both_axes() -> None:
    """Points of a calibrated model lie on the diagonal, and those at 99.9 % are far from those at 99 %."""
    shares = [0.6, 0.9, 0.99, 0.999]
    rows = [[share, share, max(share - 0.1, 0.0), min(share + 0.0005, 1.0)] for share in shares]
    svg = render_chart(calibration_analysis(rows))
    assert svg is not None and "both axes: logit scale" in svg
    diagonal = re.search(r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" stroke="var\(--soft\)"', svg)
    assert diagonal is not None
    x1, y1, x2, y2 = map(float, diagonal.groups())
    points = [tuple(map(float, pair)) for pair in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert len(points) == 4
    for x, y in points:
        assert (x - x1) / (x2 - x1) == pytest.approx((y - y1) / (y2 - y1), abs=0.005)
    assert points[3][0] - points[2][0] > 0.1 * (x2 - x1)


def test_calibration_of_other_models_has_linear_axes() -> None:
    svg = render_chart(calibration_analysis([[0.2, 0.3, 0.2, 0.4], [0.6, 0.5, 0.4, 0.6]]))
    assert svg is not None and "logit" not in svg
    assert svg.count(">50%<") == svg.count(">100%<") == 2, "both axes from 0 to 100 %"


def calibration_analysis(rows: list[list[float]]) -> Analysis:
    columns = ["probability", "accuracy", "low", "high"]
    chart = Chart("line", "probability", ("accuracy",), "low", "high", x_title="probability", diagonal=True)
    return Analysis("calibration", "Calibration", "", columns, rows, chart, tuple(columns))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ((29.3, 61.5), ["30", "40", "50", "60", "70"]),
        ((0.56, 5.1), ["0.5", "1", "2", "5"]),
        ((0.001, 90.0), ["0.001", "0.01", "0.1", "1", "10", "100"]),
    ],
)
def test_positive_numbers_have_at_least_three_ticks(values: tuple[float, ...], labels: list[str]) -> None:
    assert [label for _, label in positive_scale(values).ticks()] == labels
