"""Files as people export them: text of any delimiter, gzip or zstd, UTF-8 or a declared encoding (all of it comes in as text), Parquet, tables of a DuckDB file."""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import ibis
from ibis.util import gen_name

from features.errors import ContractError, first_few

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.backends.duckdb import Backend

TEXT = (".csv", ".tsv", ".txt")
ENDINGS = (".parquet", *(f"{text}{packed}" for text in TEXT for packed in ("", ".gz", ".zst")))
# Read where it is named, never by its own name: it holds many tables.
DATABASE = ".duckdb"
DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 2**20


def ending_of(path: Path) -> str:
    """The ending by which a file can be read; empty if it cannot."""
    return next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(ending)), "")


def stem_of(path: Path) -> str:
    """The name without that ending."""
    return path.name[:len(path.name) - len(ending_of(path))]


def read_file(engine: "Backend", path: Path, delimiter: str = "", encoding: str = "", relation: str = "") -> ibis.Table:
    """Read one file (or a folder of Parquet files, or a relation of a DuckDB file) into the engine, texts as texts; what has types as it is.

    Raises: ContractError for text that is not UTF-8 while no encoding is declared, or that the declared one does not fit; parts of other types; a database that another
    process has open.
    """
    if path.is_dir():
        lacking_in_parts(path)
        return engine.read_parquet(sorted(path.glob("*.parquet")), union_by_name=True)
    if path.suffix == DATABASE:
        return _from_database(engine, path, relation)
    if path.suffix == ".parquet":
        return engine.read_parquet(path)
    delimiter = delimiter or delimiter_of(path, encoding)
    if encoding and encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
        return _decoded(engine, path, delimiter, encoding)
    require_utf8(path)
    packed = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix, "none")
    return engine.read_csv(path, all_varchar=True, delim=delimiter, quote='"', escape='"', header=True, compression=packed)


def lacking_in_parts(folder: Path) -> dict[str, list[str]]:
    """The columns that only some Parquet parts of a table have, and the parts that lack them.

    Raises: ContractError where a column is of another kind in one part than in another: what would become of it nobody could say.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = {}
    for path in sorted(folder.glob("*.parquet")):
        try:
            schemas[path.name] = pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(f"the files of {folder} must be readable as tables, found: {path.name}, {str(error).splitlines()[0]}; write that file again") from None
    kinds: dict[str, dict[str, str]] = {}
    for name, schema in schemas.items():
        for column in schema:
            kinds.setdefault(column.name, {})[_kind(column.type)] = name
    for column, found in kinds.items():
        told = [f"{kind} in {name}" for kind, name in found.items() if kind != "null"]
        if len(told) > 1:
            raise ContractError(f"WRONG_TYPE: {folder.name}.{column} needs one type in all parts, found {first_few(told)}; write the later parts as the earlier ones")
    lacking = {column: [name for name, schema in schemas.items() if column not in schema.names] for column in kinds}
    return {column: names for column, names in lacking.items() if names}


def _kind(found: "pa.DataType") -> str:
    """Types that can stand below each other: all numbers, all texts; times only with or only without a zone."""
    import pyarrow.types as types

    if types.is_dictionary(found):
        return _kind(found.value_type)
    if types.is_timestamp(found):
        return "time with a zone" if found.tz else "time without zone"
    is_number = types.is_integer(found) or types.is_floating(found) or types.is_decimal(found)
    return "number" if is_number else "text" if types.is_string(found) or types.is_large_string(found) or types.is_string_view(found) else str(found)


def _from_database(engine: "Backend", path: Path, relation: str) -> ibis.Table:
    """A table or view of a DuckDB file, copied at once: it is open no longer than that, and only for reading.

    Raises: ContractError where another process has it open, or where it has no such relation.
    """
    import duckdb

    name, place = gen_name("database"), str(path.resolve()).replace("'", "''")
    try:
        engine.raw_sql(f"ATTACH '{place}' AS {name} (READ_ONLY)")
    except (duckdb.IOException, duckdb.ResourceInUseException) as error:
        is_here, holder = isinstance(error, duckdb.ResourceInUseException), re.search(r"lock is held in .*\(PID (\d+)\)", str(error))
        if not (is_here or holder):
            raise
        who = f"process {holder[1]}" if holder else "this process"
        raise ContractError(f"LOCKED: {path.name} must not be open for writing while it is read, found that {who} has it open; close it there, then do this again") from None
    try:
        rows = engine.con.execute("SELECT table_name FROM information_schema.tables WHERE table_catalog = ? AND table_schema = 'main' ORDER BY 1", [name])
        there = [row[0] for row in rows.fetchall()]
        if relation not in there:
            raise ContractError(f"{path.name} needs a table or view {relation}, found {first_few(there, 9) or 'none'}; name one in dataset.toml: table = ...")
        return engine.create_table(gen_name("copied"), engine.table(relation, database=f"{name}.main"))
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        raise ContractError(f"{path.name} needs a view {relation} of its own tables, found: {str(error).splitlines()[0]}; name a table instead") from None
    finally:
        engine.raw_sql(f"DETACH {name}")


def _decoded(engine: "Backend", path: Path, delimiter: str, encoding: str) -> ibis.Table:
    """Through Arrow, which decodes in memory: the user's folder is only read."""
    import pyarrow as pa
    import pyarrow.csv as text

    names = header_of(path, delimiter, encoding)
    try:
        with _opened(path) as file:
            table = text.read_csv(
                file, text.ReadOptions(encoding=encoding), text.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                text.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]))
    except (UnicodeDecodeError, LookupError, pa.ArrowInvalid) as error:
        raise ContractError(f"{path.name} must be {encoding} text as declared, found: {str(error).splitlines()[0]}; correct encoding, or save the file as UTF-8") from None
    return engine.create_table(ibis.util.gen_name("decoded"), table)


def require_utf8(path: Path) -> None:
    """Refuse text that is not UTF-8, with the encoding it looks like. Raises: ContractError."""
    if looks := looks_like(path):
        raise ContractError(
            f"NOT_UTF8: {path.name} must be UTF-8 text, found other bytes that look like {looks}; save it as UTF-8 (in Excel: CSV UTF-8), "
            f'or declare encoding = "{looks}" in dataset.toml')


def looks_like(path: Path) -> str:
    """The encoding of a text file: empty for UTF-8 (all of it is read), else the one that its first bytes look like."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _opened(path) as file:
        sample = block = file.read(_SAMPLE)
        if sample[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
        try:
            while block:
                decoder.decode(block)
                block = file.read(_SAMPLE)
            decoder.decode(b"", final=True)
            return ""
        except UnicodeDecodeError:
            pass
    odd = [letter for letter in sample.decode("gb18030", errors="replace")[:-1] if ord(letter) > 127]
    # Western text read as Chinese gives rare letters; Chinese text mostly common ones.
    is_chinese = sum("\u4e00" <= letter <= "\u9fff" or letter in "，。：；（）、“”￥" for letter in odd) > 0.8 * len(odd) and _is_common_chinese(odd)
    return "gb18030" if is_chinese else "windows-1252"


def _is_common_chinese(letters: list[str]) -> bool:
    """Whether most letters are of GB2312's first level, by frequency of use: bytes of Western text rarely meet those in pairs."""
    def is_common(letter: str) -> bool:
        try:
            code = letter.encode("gb2312")
        except UnicodeEncodeError:
            return False
        return 0xA1 <= code[0] <= 0xD7

    return sum(map(is_common, letters)) >= 0.8 * len(letters)


def delimiter_of(path: Path, encoding: str = "") -> str:
    """The delimiter that cuts the first lines into the same number of cells, most cells first; a comma where none does."""
    lines = sample_text(path, encoding).splitlines()[:50]
    best, most = ",", 1
    for delimiter in DELIMITERS:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        if widths and widths[0] > most and sum(width == widths[0] for width in widths) >= 0.8 * len(widths):
            best, most = delimiter, widths[0]
    return best


def header_of(path: Path, delimiter: str, encoding: str = "") -> list[str]:
    """The names in the first line."""
    return next(csv.reader(io.StringIO(sample_text(path, encoding)), delimiter=delimiter), [])


def sample_text(path: Path, encoding: str = "") -> str:
    """The first mebibyte as text; letters that do not decode are replaced."""
    try:
        with _opened(path) as file:
            return file.read(_SAMPLE).decode(encoding or "utf-8-sig", errors="replace")
    except LookupError:
        raise ContractError(f"encoding must be one that Python knows, found {encoding!r}; write for example gb18030, windows-1252 or utf-16") from None


def unpacked(path: Path) -> bytes:
    """All bytes of a file, out of its gzip or zstd."""
    with _opened(path) as file:
        return file.read()


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked. Raises: ContractError for one that is cut or no such file."""
    import pyarrow as pa

    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                yield file  # type: ignore[misc]
        elif path.suffix == ".zst":
            with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as file:
                yield file
        else:
            with path.open("rb") as file:
                yield file
    except (EOFError, gzip.BadGzipFile, pa.ArrowInvalid, OSError) as error:
        if isinstance(error, PermissionError | FileNotFoundError):
            raise
        raise ContractError(f"the file {path.name} must be readable as tables, found: {str(error).splitlines()[0]}; write that file again") from None
