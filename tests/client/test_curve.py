from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker_client.curve import draw, finite


def dots(lines: list[str]) -> set[tuple[int, int]]:
    """The dots of a drawing as (column, row) from its upper left corner."""
    margin = len(lines[-1]) - len(lines[-1].lstrip())
    bits = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
    return {
        (2 * x + dx, 4 * y + dy)
        for y, line in enumerate(lines[:-1])
        for x, character in enumerate(line[margin:])
        for dx in (0, 1)
        for dy in range(4)
        if (ord(character) - 0x2800) & bits[dx][dy]
    }


def test_a_falling_curve_goes_from_the_upper_left_to_the_lower_right_without_a_gap():
    lines = draw(list(range(1, 101)), [2.0 - step / 100 for step in range(1, 101)], 40, 6)
    found = dots(lines)
    columns = sorted({column for column, _ in found})
    assert columns == list(range(columns[-1] + 1))
    assert (0, 0) in found
    assert (columns[-1], 6 * 4 - 1) in found
    tops = [min(row for column, row in found if column == wanted) for wanted in columns]
    assert tops == sorted(tops)


def test_its_scale_and_its_steps_are_named():
    lines = draw([1, 50, 100], [2.5, 1.5, 0.5], 40, 6)
    assert len(lines) == 7
    assert lines[0].startswith("2.5 ")
    assert lines[5].startswith("0.5 ")
    assert lines[-1].split() == ["1", "100"]
    assert {len(line) for line in lines[:-1]} == {40}


def test_a_curve_grows_into_its_frame():
    found = dots(draw([1, 50], [2.0, 1.0], 44, 4, last_step=100))
    assert 30 < max(column for column, _ in found) < 50
    assert draw([1, 50], [2.0, 1.0], 44, 4, last_step=100)[-1].split() == ["1", "100"]


def test_what_is_no_number_is_left_out():
    assert finite([1, 2, 3, 4, 5], [1.0, None, "NaN", math.inf, 2]) == ([1, 5], [1.0, 2.0])
    assert draw([1, 2], ["NaN", None], 40, 5) == []
    assert draw([], [], 40, 5) == []


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-12, 1e12])
def test_a_flat_curve_lies_in_the_middle(value):
    rows = {row for _, row in dots(draw([1, 2, 3], [value] * 3, 40, 4))}
    assert rows <= {7, 8}


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=50),
    st.integers(1, 200),
    st.integers(1, 30),
)
def test_any_numbers_fit_into_any_frame(values, width, height):
    lines = draw(list(range(len(values))), values, width, height)
    assert len(lines) in (0, height + 1)
