"""The engine reads the data's own folder and nothing else, and cannot be talked out of it."""

import duckdb
import pytest

from features.engine import connect


@pytest.fixture
def folders(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
        (folder / "rows.csv").write_text("a,b\n1,2\n")
    return mine, other


@pytest.fixture
def engine(folders):
    return connect((folders[0],))


def test_it_reads_its_own_folder(engine, folders):
    assert engine.raw_sql(f"SELECT a FROM read_csv('{folders[0]}/rows.csv')").fetchall() == [(1,)]
    assert "1,2" in engine.raw_sql(f"SELECT content FROM read_text('{folders[0]}/rows.csv')").fetchall()[0][0]


def test_it_reads_every_folder_that_it_was_given_also_with_a_quote_in_its_name(tmp_path):
    folders = (tmp_path / "one's", tmp_path / "two")
    for folder in folders:
        folder.mkdir()
        (folder / "rows.csv").write_text("a\n1\n")
    both = connect(folders)
    for folder in folders:
        path = str(folder / "rows.csv").replace("'", "''")
        assert both.raw_sql(f"SELECT a FROM read_csv('{path}')").fetchall() == [(1,)]


FORBIDDEN = {
    "a system file as text": "SELECT * FROM read_text('/etc/passwd')",
    "a system file as a table": "SELECT * FROM read_csv('/etc/passwd')",
    "a system file as Parquet": "SELECT * FROM read_parquet('/etc/passwd')",
    "bytes": "SELECT * FROM read_blob('/etc/passwd')",
    "a list of files": "SELECT * FROM glob('/etc/*')",
    "another folder": "SELECT * FROM read_csv('{other}/rows.csv')",
    "another folder by the parent": "SELECT * FROM read_csv('{mine}/../other/rows.csv')",
    "a folder whose name begins alike": "SELECT * FROM read_csv('{mine}more/rows.csv')",
    "writing": "COPY (SELECT 1) TO '{other}/new.csv'",
    "another database": "ATTACH '{other}/new.db'",
    "an extension": "INSTALL httpfs",
    "opening itself": "SET enable_external_access=true",
    "more folders": "SET allowed_directories=['/']",
    "another zone": "SET TimeZone='Asia/Tokyo'",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_refuses(engine, folders, tmp_path, what):
    (tmp_path / "minemore").mkdir()
    (tmp_path / "minemore" / "rows.csv").write_text("a\n1\n")
    # Only a refusal counts: a missing file or a slip in the statement would raise something else.
    with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException), match="disabled|locked|[Cc]annot"):
        engine.raw_sql(FORBIDDEN[what].format(mine=folders[0], other=folders[1])).fetchall()
    assert not (folders[1] / "new.csv").exists() and not (folders[1] / "new.db").exists()
