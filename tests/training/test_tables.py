"""Training tables: labels beside features that were written before, and blocks of rows taken at once."""

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.tables import Rows, beside_features

MOMENTS = np.array(["2026-01-01", "2026-02-01", "2026-03-01"], dtype="datetime64[us]")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Forty customers at three moments, in parts of seven rows."""
    path = tmp_path_factory.mktemp("written") / "snapshots.parquet"
    keys = pd.DataFrame({"customer_id": np.repeat([f"c{i:02}" for i in range(40)], 3), "as_of": np.tile(MOMENTS, 40)})
    pq.write_table(pa.Table.from_pandas(keys.assign(spend=np.arange(120) / 4, city=np.where(np.arange(120) % 5, "Wuhan", None)), preserve_index=False), path, row_group_size=7)
    return path


def test_rows_stand_beside_their_features_in_the_files_order(written):
    asked = pd.DataFrame({"customer_id": ["c31", "c02", "c02", "c17"], "as_of": MOMENTS[[0, 2, 1, 1]], "label": np.array([1, 0, 1, 0], np.int8)})
    found = pa.concat_tables(beside_features(asked, written)).to_pandas()
    by_hand = asked.merge(pd.read_parquet(written), on=["customer_id", "as_of"]).sort_values(["customer_id", "as_of"], ignore_index=True)
    pd.testing.assert_frame_equal(found, by_hand)
    assert found["spend"].tolist() == [(3 * 2 + 1) / 4, (3 * 2 + 2) / 4, (3 * 17 + 1) / 4, 3 * 31 / 4]


@pytest.mark.parametrize(("who", "why"), [(["c01", "zz"], "2 rows need features, snapshots.parquet holds those of 1"), (["c01", "c01"], "not unique|unique")])
def test_rows_that_were_not_written_or_are_asked_twice_are_no_training_table(written, who, why):
    with pytest.raises(ValueError, match=why):
        list(beside_features(pd.DataFrame({"customer_id": who, "as_of": MOMENTS[[0, 0]], "label": [0, 1]}), written))


def test_a_block_taken_at_once_is_the_one_taken_step_by_step():
    rng = np.random.default_rng(2)
    n = 4_000
    rows = Rows(rng.normal(size=(n, 2)), rng.integers(0, 2, n).astype(float), np.array([f"c{i}" for i in rng.integers(0, 900, n)], dtype=object), MOMENTS[rng.integers(0, 3, n)])
    as_ofs: list[datetime] = MOMENTS[:2].tolist()
    by_steps, at_once = rows.at(as_ofs).capped(2).thinned(700), rows.at(as_ofs, 2, 700)
    assert 550 < len(by_steps.y) < 850 and np.array_equal(at_once.x, by_steps.x) and np.array_equal(at_once.customers, by_steps.customers)
    assert rows.at(as_ofs, most=n).x.shape == rows.at(as_ofs).x.shape
