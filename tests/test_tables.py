"""Tables of figures: means, seeds, numbers as text, Markdown."""

import json

import numpy as np
import pytest

from aejax.tables import by_seed, cells, decimal, joined, markdown, mean_and_sd, mean_of_examples, reduced


def test_means_are_taken_in_float64() -> None:
    # 2**24 is where float32 stops counting: in float32, one value each after the first would be lost.
    values = np.array([2**24, 1, 1, 1], np.float32)
    means = mean_of_examples({"loss": values, "mse": np.array([1.0, 2.0])})
    assert means == {"loss": (2**24 + 3) / 4, "mse": 1.5}
    assert all(type(mean) is float for mean in means.values())
    assert json.dumps(means)


def test_a_table_is_aligned_markdown() -> None:
    table = {"train": {"loss": "81.50", "bce": "0.1"}, "test": {"loss": "9", "mse (per pixel)": "0.0042"}}
    assert markdown(table, "split") == "\n".join(
        [
            "| split | loss  | bce | mse (per pixel) |",
            "| ----- | ----- | --- | --------------- |",
            "| train | 81.50 | 0.1 |                 |",
            "| test  | 9     |     | 0.0042          |",
        ]
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (81.4321, "81.43"), (0.104049, "0.1040"), (1.0, "1.000"), (1234.4, "1234"), (-0.5, "-0.5000")],
)
def test_numbers_have_four_significant_digits(value: float, text: str) -> None:
    assert decimal(value) == text


@pytest.mark.parametrize("value", [0.0, 2.0, -0.1])
def test_what_all_seeds_share_has_no_spread(value: float) -> None:
    assert cells(mean_and_sd({"x": np.full(3, value)})) == {"x": decimal(value)}


def test_a_table_that_is_too_wide_goes_on_below_without_its_empty_rows() -> None:
    table = {"train": {"loss": "1"}, "test": {"loss": "2", "a long name": "3"}}
    assert markdown(table, width=20) == "\n".join(
        [
            "|       | loss |",
            "| ----- | ---- |",
            "| train | 1    |",
            "| test  | 2    |",
            "",
            "|      | a long name |",
            "| ---- | ----------- |",
            "| test | 3           |",
        ]
    )


def test_figures_of_seeds_become_mean_and_sample_deviation() -> None:
    table = joined({"test": by_seed([{"loss": 1.0}, {"loss": 3.0}])}, {"test": {"floor": 0.5}})
    means = reduced(table)
    assert means == {"test": {"loss": 2.0, "loss_sd": pytest.approx(2**0.5), "floor": 0.5}}
    assert cells(means["test"]) == {"loss": "2.000 ± 1.4", "floor": "0.5000"}
