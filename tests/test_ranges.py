import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.dataset import Schema
from service.encoding import ColumnEncoding, feature_names
from service.ranges import FeatureRanges, Unfamiliar, joined, learn_ranges, unfamiliar

PLAIN = Schema(("a", "b"), ("y",))
NUMBERS = st.floats(-1e308, 1e308)
KIND = ColumnEncoding("kind", "category", ("flat", "house", "hut"), unseen="ignore", has_indicator=True, fill=None)
ENCODING = (
    ColumnEncoding("area", "number"),
    KIND,
    ColumnEncoding("zone", "category", ("n", "s"), unseen="ignore"),
    ColumnEncoding("sold", "date", parts=("year",)),
)
ENCODED = Schema(feature_names(ENCODING), ("y",), None, ENCODING)


@given(arrays(np.float64, st.tuples(st.integers(1, 20), st.just(2)), elements=NUMBERS))
def test_no_sample_of_the_training_is_beyond_what_it_saw(features: np.ndarray) -> None:
    ranges = learn_ranges(features, None, PLAIN)
    assert unfamiliar(ranges, PLAIN, features) == []
    np.testing.assert_array_equal(ranges.lowest, features.min(axis=0))
    np.testing.assert_array_equal(ranges.highest, features.max(axis=0))
    np.testing.assert_allclose(ranges.mean, (features / len(features)).sum(axis=0), rtol=1e-12)
    again = FeatureRanges.from_json(ranges.to_json())
    assert all((getattr(again, name) == getattr(ranges, name)).all() for name in ("lowest", "highest", "mean"))


@given(arrays(np.float64, (5, 2), elements=st.floats(-1e30, 1e30)))
def test_a_number_that_was_rounded_for_the_training_is_not_beyond_it(features: np.ndarray) -> None:
    assert unfamiliar(learn_ranges(features.astype(np.float32), None, PLAIN), PLAIN, features) == []


def test_only_training_samples_are_learned_from() -> None:
    features = np.array([[1.0, 5.0], [2.0, 6.0], [100.0, -100.0]])
    ranges = learn_ranges(features, np.array([0, 1]), PLAIN)
    assert (ranges.mean.tolist(), ranges.highest.tolist()) == ([1.5, 5.5], [2.0, 6.0])


def test_the_furthest_sample_beyond_is_told_with_how_many_there_are() -> None:
    ranges = FeatureRanges(np.array([0.0, 0.0]), np.array([10.0, 1.0]), np.zeros(2))
    found = unfamiliar(ranges, PLAIN, np.array([[-1.0, 0.5], [5.0, 1.0], [-3.0, 0.0], [12.0, 0.0]]))
    assert found == [Unfamiliar("a", 2, -3.0, 3, 0.0, 10.0)]
    assert found[0].detail == "feature 'a' is -3 in sample 2; in training it was from 0 to 10 (3 such samples)"


def encoded(*rows: tuple[float, str | None, str | None, float]) -> np.ndarray:
    return np.array(
        [
            [area, *(kind == one for one in KIND.categories), kind is None, zone == "n", zone == "s", year]
            for area, kind, zone, year in rows
        ],
        dtype=np.float64,
    )


def test_categories_and_their_absence_are_told_in_the_words_of_the_columns() -> None:
    ranges = learn_ranges(encoded((50, "flat", "n", 2020), (80, "house", "s", 2022)), None, ENCODED)
    assert ranges.known == {"kind", "zone"}
    assert unfamiliar(ranges, ENCODED, encoded((60, "house", "n", 2021))) == []
    found = unfamiliar(ranges, ENCODED, encoded((60, "hut", "n", 2021), (60, None, None, 2030)))
    assert found == [
        Unfamiliar("kind", 0, "hut", 1),
        Unfamiliar("kind", 1, None, 1),
        Unfamiliar("sold.year", 1, 2030.0, 1, 2020.0, 2022.0),
        Unfamiliar("zone", 1, None, 1),
    ]
    assert found[0].detail == "feature 'kind' is 'hut' in sample 0, as in no training sample"


def test_a_column_that_was_missing_in_training_may_be_missing_again() -> None:
    ranges = learn_ranges(encoded((50, "flat", "n", 2020), (80, None, None, 2022)), None, ENCODED)
    assert ranges.known == {"kind"}
    assert unfamiliar(ranges, ENCODED, encoded((60, None, None, 2021))) == []


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_what_is_told_of_parts_is_what_is_told_of_the_whole(cut: int) -> None:
    ranges = learn_ranges(encoded((50, "flat", "n", 2020), (80, "house", "s", 2022)), None, ENCODED)
    rows = encoded((10, "hut", "n", 2021), (90, "hut", None, 2030), (95, "flat", None, 2030), (5, "hut", "n", 2031))
    parts = joined(unfamiliar(ranges, ENCODED, rows[:cut]), unfamiliar(ranges, ENCODED, rows[cut:]), cut)
    whole = unfamiliar(ranges, ENCODED, rows)
    assert sorted(parts, key=str) == sorted(whole, key=str)
