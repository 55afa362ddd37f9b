"""A newcomer's way from a folder of files to a first run: the guesses said aloud, and a `dataset.toml` to begin with."""

import json
from datetime import timedelta
from pathlib import Path

from features.contracts import COLUMNS
from features.errors import ContractError, LikenessError, UsageError, first_few
from features.files import written_whole
from features.roles import FileGuess, guesses

_OPTIONAL = {
    "customers": "who they are: profile features, and consents to respect", "items": "categories and brands of goods: interest features, tasks on one category",
    "campaigns": "how long campaigns last: which are still open for a customer"}
# Horizons that people plan in, in days, the longest first.
_HORIZONS = (56, 28, 14, 7, 4, 3, 2, 1)
_HEAD = """# What Likeness needs to know of this folder. Lines that begin with # are comments.
# The guesses below were made from the files' names and contents: read them, correct what is wrong, then: python -m features check {folder}
"""


def sentences(found: list[FileGuess]) -> list[str]:
    """The guesses in plain words, file by file, and what each absent table would add."""
    lines = []
    for guess in found:
        if not guess.table:
            lines.append(f"{guess.path.name}: not used, {guess.why} (columns: {first_few(guess.left, 6)})")
            continue
        lines.append(f"{guess.path.name}: looks like {guess.table} ({guess.why})" + (f", {guess.encoding} text" if guess.encoding else ""))
        for column in guess.columns:
            lines.append(f"    {column.column} -> {column.role} ({column.why}){'' if column.is_sure else '  <- please check'}")
        for name, value in guess.constants.items():
            lines.append(f"    {name} = {value} on every line (no column tells it)  <- please check")
        for name, mapping in guess.values.items():
            lines.append(f"    {name}: " + ", ".join(f"{theirs} means {ours}" for theirs, ours in mapping.items()))
        if len(guess.formats) > 1:
            lines.append(f"    times could be {' or '.join(guess.formats)}  <- only you can know")
        if len(guess.numbers) > 1:
            lines.append("    numbers could be written in two ways  <- only you can know")
        if guess.left:
            lines.append(f"    not used: {first_few(guess.left, 6)}")
    there = {guess.table for guess in found}
    lines += [f"no {table}: it would add {what}" for table, what in _OPTIONAL.items() if table not in there]
    return lines


def write_starter(folder: Path) -> tuple[Path, list[str]]:
    """Write `dataset.toml` into a folder, with the guesses and what only its owner can know left to fill in; give the path and what to do next.

    Raises: UsageError where there is one already; ContractError where no file looks like events.
    """
    path = folder / "dataset.toml"
    if path.exists():
        raise UsageError(f"--init writes a first dataset.toml, found one in {folder} already; edit it, or move it away")
    found = guesses(folder)
    if not any(guess.table == "events" for guess in found):
        raise ContractError(
            f"a folder needs a file of events (customers at moments), found none among {first_few([guess.path.name for guess in found]) or 'no tables'}:\n  "
            + "\n  ".join(sentences(found)) + "\nname the columns so that they can be known (customer_id, event_at, amount), or write dataset.toml by hand")
    text, to_fill = starter(folder, found)
    with written_whole(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path, to_fill


def starter(folder: Path, found: list[FileGuess]) -> tuple[str, list[str]]:
    """The text of a first `dataset.toml`, and what is left to fill in."""
    to_fill = ["zone: where your customers live their days, such as Asia/Shanghai (it decides hours, weekdays and the midnights between days)"]
    currency, why = _currency(found)
    lines = [
        _HEAD.format(folder=folder), "# Where your customers live their days, such as \"Asia/Shanghai\" or \"Europe/Berlin\". Only you can know it.", 'zone = ""', "",
        f"# The currency of all money, as in ISO 4217. {why}", f'currency = "{currency}"', ""]
    for table in COLUMNS:
        files = [guess for guess in found if guess.table == table]
        if table != "events" and len(files) > 1:
            lines.append(f"# Several files look like {table}; this takes {files[0].path.name} and leaves {first_few([guess.path.name for guess in files[1:]])}.")
            files = files[:1]
        for guess in files:
            lines += [*_table_lines(guess, "[[tables.events]]" if table == "events" else f"[tables.{table}]", to_fill), ""]
    for name in [name for guess in found if guess.table == "customers" for name in guess.sensitive]:
        lines += [f"# It may be learned from, but is never named to anybody.\n[attributes.{_key(name)}]", "sensitive = true", ""]
    lines += _task_lines(folder, "\n".join(lines), currency)
    return "\n".join(lines), to_fill


def _table_lines(guess: FileGuess, header: str, to_fill: list[str]) -> list[str]:
    lines = [header, f"file = {_quoted(guess.path.name)}"]
    if guess.encoding:
        lines.append(f"encoding = {_quoted(guess.encoding)}")
    if guess.path.suffix != ".parquet" and guess.delimiter != ",":
        lines.append(f"delimiter = {_quoted(guess.delimiter)}")
    if len(guess.formats) == 1:
        lines.append(f"time_format = {_quoted(guess.formats[0])}")
    elif guess.formats:
        to_fill.append(f"time_format of {guess.path.name}: {' or '.join(guess.formats)}")
        lines += ["# Day and month could change places: take the # away from the line that is right.", *(f"# time_format = {_quoted(form)}" for form in guess.formats)]
    if len(guess.numbers) == 1:
        lines += _number_lines(guess.numbers[0])
    elif guess.numbers:
        to_fill.append(f"decimal and thousands of {guess.path.name}")
        lines += ["# Numbers could be read in two ways: take the # away from what is right.", *(f"# {line}" for form in guess.numbers for line in _number_lines(form))]
    pairs = ", ".join(f"{_key(column.role)} = {_quoted(column.column)}" for column in guess.columns if column.role != column.column)
    if pairs:
        lines.append(f"columns = {{ {pairs} }}")
    if guess.constants:
        lines.append(f"constants = {{ {', '.join(f'{name} = {_quoted(value)}' for name, value in guess.constants.items())} }}")
    for column, mapping in guess.values.items():
        lines.append(f"values = {{ {column} = {{ {', '.join(f'{_quoted(theirs)} = {_quoted(ours)}' for theirs, ours in mapping.items())} }} }}")
    return lines


def _number_lines(form: tuple[str, str]) -> list[str]:
    return [f"decimal = {_quoted(form[0])}", *([f"thousands = {_quoted(form[1])}"] if form[1] else [])]


def _currency(found: list[FileGuess]) -> tuple[str, str]:
    names = " ".join(column.column for guess in found for column in guess.columns)
    for signs, code in ((("元", "￥", "人民币", "rmb", "cny"), "CNY"), (("€", "eur"), "EUR"), (("£", "gbp"), "GBP"), (("$", "usd"), "USD")):
        if any(sign in names.lower() for sign in signs):
            return code, "Guessed from the names of columns."
    if any("\u4e00" <= letter <= "\u9fff" for letter in names):
        return "CNY", "Guessed from the Chinese names of columns."
    return "XXX", "XXX says that it is not known: amounts are then shown without a name."


def _task_lines(folder: Path, so_far: str, currency: str) -> list[str]:
    """Tasks whose windows the length of the data allows: found by reading them as declared so far, in a zone for the time being."""
    import tomllib

    from features.contracts import hold
    from features.folder import read

    try:
        dataset, _ = hold(read(folder, {**tomllib.loads(so_far), "zone": "UTC"}))
    except LikenessError as error:
        return ["# Tasks can be proposed when the files can be read. What stands in the way:", *(f"# {line}" for line in str(error).splitlines()), ""]
    events = dataset.tables["events"]
    days = max(1, round((dataset.observed_until - dataset.observed_from) / timedelta(days=1)))
    counts: dict[str, int] = {row["kind"]: row["n"] for row in events.group_by(["kind", "initiator"]).agg(n=events.count()).filter(
        lambda t: t.initiator == "customer").to_pyarrow().to_pylist()}
    has_sent = bool(events.filter(events.initiator == "marketer").count().to_pyarrow().as_py())
    # What customers do most: their purchases, or what stands for a visit.
    active = "purchase" if "purchase" in counts else max(counts, key=lambda kind: counts[kind])
    horizon = next((h for h in _HORIZONS if days >= 6.5 * h), 1)
    lookbacks = sorted({max(1, horizon // 2), horizon, 2 * horizon, 4 * horizon})
    windows = [
        f"horizon_days = {horizon}", f"active_days = {2 * horizon}", f"slide_days = {max(1, horizon // 2)}", f"lookbacks_days = {lookbacks}", f"active_kind = {_quoted(active)}"]
    lines = [
        f"# The data span {days} days: a horizon of {horizon} leaves room to learn, choose and judge.", f"# Who of the active will have no {active} in the next {horizon} days?",
        "[tasks.churn]", *windows, f"target_kind = {_quoted(active)}", ""]
    other = [kind for kind in counts if kind not in (active, "return") and kind != "purchase"] if active == "purchase" else ["purchase"] if "purchase" in counts else []
    answer = next((kind for kind in ("coupon_redemption", *sorted(other, key=lambda kind: counts[kind])) if kind in counts), "")
    if answer:
        lines += [f"# Who will have a {answer} in the next {horizon} days?", "[tasks.conversion]", *windows, f"target_kind = {_quoted(answer)}"]
        lines += ['received_kind = "campaign_received"', ""] if has_sent else [""]
    if dataset.tables["events"].amount_minor.count().to_pyarrow().as_py():
        lines += [
            "# Who is like the customers of the highest value?", "[tasks.lookalike]", *windows, "[tasks.lookalike.seeds]",
            f'column = "spend_sum_{2 * horizon}d_{currency.lower()}"', "top_share = 0.1", ""]
    return lines


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's.
    return json.dumps(text, ensure_ascii=False)


def _key(name: str) -> str:
    return name if name.isascii() else _quoted(name)
