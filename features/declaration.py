"""`dataset.toml`: what a company says of its own tables, held against the keys that are known."""

import difflib
import re
import tomllib
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from features.contracts import COLUMNS
from features.dataset import Funnel, IdentityRules
from features.errors import ContractError, first_few
from features.policies import CHOICES
from features.tasks import Campaign, Eligibility, Seeds, Task, WindowSpec

EXAMPLE = 'zone = "Asia/Shanghai" and currency = "CNY"'
# What money, and only money, is called in a source; inside it is whole minor units.
MONEY = ("amount", "discount", "currency")
ANY = "*"
_TABLE = {
    "file": str, "table": str, "columns": {ANY: str}, "constants": {ANY: str}, "values": {ANY: {ANY: str}}, "time_format": str, "decimal": str, "thousands": str, "delimiter": str,
    "encoding": str}
_SEEDS = {"event_kind": str, "from_date": (str, date), "until_date": (str, date), "column": str, "top_share": float}
_TASK = {
    "kind": str, "horizon_days": int, "gap_days": int, "slide_days": int, "row_cap": int, "ingestion_lag_days": int, "lookbacks_days": [int], "active_days": int,
    "active_kind": str, "received_kind": str, "min_history_days": int, "target_kind": str, "target_category": str, "stop_on_first_conversion": bool, "rules": [str],
    "metric": str, "seeds": _SEEDS, "campaign": dict.fromkeys(("clv", "incentive_cost", "contact_cost", "accept_rate"), float)}
# Every key of dataset.toml: its type, a list of a type, a table of keys, or a table of any names (*).
KEYS: dict[str, Any] = {
    "name": str, "zone": str, "currency": str, "observed_until": (str, datetime, date), "licence": str, "simulated": bool, "consent": str, "sensitive": [str],
    "marketer_kinds": [str], "bot_events_per_hour": int, "testers": [str], "data": str, "encoding": str,
    "identity": {"kinds": [str], "shared_kinds": [str], "most_links": int, "least_confidence": float, "never_differ": [str]},
    "tables": dict.fromkeys(COLUMNS, _TABLE), "attributes": {ANY: {"label_en": str, "label_zh": str, "sensitive": bool, "type": str}},
    "features": {"include": [str], "exclude": [str]}, "policies": {**dict.fromkeys(CHOICES, str), "future_minutes": int, "kinds": [str]}, "rates": {ANY: float},
    "tasks": {ANY: _TASK}, "funnels": {ANY: {"stages": [str], "unit": str}}}
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", date: "a date", datetime: "a time"}


def declared_in(path: Path) -> dict[str, Any]:
    """Read a declaration and hold every key against the known ones; an absent file declares nothing.

    Raises: ContractError for text that is no UTF-8 or no TOML, an unknown key (with its line and the nearest known one), a wrong type.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        said = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        line = path.read_bytes()[:error.start].count(b"\n") + 1
        raise ContractError(f"{path.name} must be UTF-8 text, found other bytes in line {line}; save it again as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"{path.name} must be valid TOML, found: {error}; correct that line") from None
    hold_keys(said, KEYS, (), path.name, text)
    return said


def require_place(said: dict[str, Any], path: Path) -> None:
    """Refuse a source without a zone or a currency. Raises: ContractError."""
    missing = [key for key in ("zone", "currency") if not said.get(key)]
    if missing:
        code = "NO_ZONE" if "zone" in missing else "NO_CURRENCY"
        raise ContractError(f"{code}: the source must declare its {' and '.join(missing)}, found none in {path}; write there for example {EXAMPLE}")
    try:
        ZoneInfo(said["zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ContractError(f"NO_ZONE: zone must be an IANA name, found {said['zone']!r}; write for example {EXAMPLE}") from None


def hold_keys(said: dict[str, Any], known: dict[str, Any], place: tuple[str, ...], file: str, text: str) -> None:
    """Hold every key of a file against the known ones. Raises: ContractError for an unknown key (with its line and the nearest known one), a wrong type."""
    for key, value in said.items():
        here = (*place, key)
        where = f"{file} line {line_of(text, here)}"
        wanted = known.get(key, known.get(ANY))
        if wanted is None:
            near = difflib.get_close_matches(key, known, 1, 0.5)
            meant = f"did you mean {near[0]}" if near else f"known here are {', '.join(known)}"
            raise ContractError(f"{where} needs a known key{' in ' + '.'.join(place) if place else ''}, found {key!r}; {meant}?")
        name = ".".join(here)
        if isinstance(wanted, dict):
            # A table may come from several files: [[tables.events]].
            parts = value if isinstance(value, list) and place == ("tables",) else [value]
            if not all(isinstance(part, dict) for part in parts):
                raise ContractError(f"{where} needs {name} as a table such as [{name}], found {value!r}; correct it")
            for part in parts:
                hold_keys(part, wanted, here, file, text)
        elif isinstance(wanted, list):
            if not isinstance(value, list) or not all(_is(one, wanted[0]) for one in value):
                raise ContractError(f"{where} needs a list of {_NAMES[wanted[0]]}s in {name}, found {value!r}; correct it")
        elif not any(_is(value, one) for one in (wanted if isinstance(wanted, tuple) else (wanted,))):
            one = wanted[0] if isinstance(wanted, tuple) else wanted
            raise ContractError(f"{where} needs {_NAMES[one]} in {name}, found {value!r}; correct it")


def _is(value: Any, wanted: type) -> bool:
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def line_of(text: str, place: tuple[str, ...]) -> int:
    """The line in which a key stands, 1 if it is not found."""
    header: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[\[?([^\]]+)\]", line):
            header = tuple(part.strip().strip("\"'") for part in found[1].split("."))
            if header[:len(place)] == place:
                return number
        elif header == place[:len(header)] and place[-1] in re.findall(r"[\"']?([^\s\"'={},.]+)[\"']?\s*=", line):
            return number
    return 1


def identity_of(said: dict[str, Any]) -> IdentityRules:
    """How identifiers become persons. Raises: ContractError for rules that make no sense."""
    rules = IdentityRules.from_json(said.get("identity", {}))
    twice = sorted({kind for kind in rules.all_kinds if rules.all_kinds.count(kind) > 1})
    if twice or not rules.kinds:
        raise ContractError(
            f"identity.kinds and shared_kinds in dataset.toml need each kind once, and one kind of person at least, found {first_few(twice) or 'none'}; correct them")
    if rules.most_links < 1 or not 0 < rules.least_confidence <= 1:
        raise ContractError(
            f"identity in dataset.toml needs most_links of 1 or more and least_confidence above 0 and up to 1, found {rules.most_links} and {rules.least_confidence}; correct them")
    return rules


def tasks_of(said: dict[str, Any], currency: str, default: bool = True) -> tuple[Task, ...]:
    """The tasks that are declared; where none is (and a default is wanted), churn by a month of silence.

    Raises: ContractError for windows, kinds or seeds that make no sense.
    """
    declared = said.get("tasks") or ({"churn": {}} if default else {})
    return tuple(_task(name, given, currency) for name, given in declared.items())


def funnels_of(said: dict[str, Any]) -> tuple[Funnel, ...]:
    """The funnels that are declared; whether their stages occur shows when they are counted.

    Raises: ContractError for one without stages, or with a unit that there is not.
    """
    found = []
    for name, given in said.get("funnels", {}).items():
        if not given.get("stages"):
            raise ContractError(f'funnels.{name} needs its stages in order, found none; write for example stages = ["visit", "product_view", "cart", "purchase"]')
        if given.get("unit", "sessions") not in ("sessions", "customers"):
            raise ContractError(f"funnels.{name}.unit must be sessions or customers, found {given['unit']!r}; correct dataset.toml")
        found.append(Funnel(name, tuple(given["stages"]), given.get("unit", "sessions")))
    return tuple(found)


def _task(name: str, said: dict[str, Any], currency: str) -> Task:
    kind = said.get("kind", name if name in ("churn", "lookalike") else "conversion")
    if kind not in ("churn", "conversion", "lookalike"):
        raise ContractError(f"tasks.{name}.kind must be churn, conversion or lookalike, found {kind!r}; correct dataset.toml")
    if not re.fullmatch(r"[\w-]+", name):
        raise ContractError(f"tasks.{name} needs a name of letters, digits, _ and -, found {name!r}; correct dataset.toml")
    if said.get("metric", "log_loss") not in ("log_loss", "auc"):
        raise ContractError(f"tasks.{name}.metric must be log_loss or auc, found {said['metric']!r}; correct dataset.toml")
    lookbacks = tuple(said.get("lookbacks_days", (28, 56, 112)))
    if not lookbacks:
        raise ContractError(f"dataset.toml needs at least one number in tasks.{name}.lookbacks_days, found none; write for example [28, 56]")
    windows = WindowSpec(
        horizon_days=said.get("horizon_days", 28), lookbacks_days=lookbacks,
        **{key: said[key] for key in ("gap_days", "slide_days", "row_cap", "ingestion_lag_days", "stop_on_first_conversion") if key in said})
    asks = Eligibility(said.get("active_days", 56), said.get("active_kind", "purchase"), said.get("received_kind"))
    task = Task(
        name, kind, asks, windows, said.get("target_kind", "purchase"), said.get("target_category", ""), _seeds(name, kind, said),
        metric=said.get("metric", "log_loss"), min_history_days=said.get("min_history_days", 0), campaign=_campaign(name, kind, said))
    return replace(task, rules=tuple(said.get("rules") or default_rules(task, currency)))


def default_rules(task: Task, currency: str) -> tuple[str, ...]:
    """The single columns that a marketer would sort by: recency, frequency, value, and the customer's own past of what is asked about."""
    rules = ["days_since_last_purchase", "purchases_count_ever"]
    for days in task.windows.lookbacks_days:
        rules += [f"purchases_count_{days}d", f"active_weeks_count_{days}d", f"spend_sum_{days}d_{currency}"]
    if task.kind == "conversion" and (task.target_category or task.target_kind != "purchase"):
        own = task.target_column()
        rules += [f"days_since_last_{own}", f"{own}_count_ever", *(f"{own}_count_{days}d" for days in task.windows.lookbacks_days)]
    return tuple(rules)


def _campaign(name: str, kind: str, said: dict[str, Any]) -> Campaign | None:
    """What the task's campaign costs and keeps; all four amounts, because a marketer's beside a paper's would be nobody's."""
    given = said.get("campaign")
    if given is None:
        return None
    missing = [field for field in Campaign.__dataclass_fields__ if field not in given]
    if kind != "churn" or missing:
        found = f"kind {kind}" if kind != "churn" else f"no {', '.join(missing)}"
        raise ContractError(f"tasks.{name}.campaign needs a task of kind churn, clv, incentive_cost, contact_cost and accept_rate, found {found}; correct dataset.toml")
    return Campaign(**{field: float(value) for field, value in given.items()})


def _seeds(name: str, kind: str, said: dict[str, Any]) -> Seeds | None:
    given = said.get("seeds")
    if kind != "lookalike":
        if given is not None:
            raise ContractError(f"tasks.{name}.seeds belong to a task of kind lookalike, found kind {kind}; remove them or correct the kind")
        return None
    texts = {key: str(value) for key, value in (given or {}).items() if key != "top_share"}
    seeds = Seeds(**texts, top_share=float((given or {}).get("top_share", Seeds.top_share)))
    if not (seeds.event_kind or seeds.column):
        raise ContractError(
            f"tasks.{name} needs its seeds, found none; write [tasks.{name}.seeds] with event_kind (and from_date, until_date), or column and top_share")
    if not 0 < seeds.top_share < 1:
        raise ContractError(f"tasks.{name}.seeds.top_share must lie between 0 and 1, found {seeds.top_share}; write for example 0.1")
    for key in ("from_date", "until_date"):
        try:
            if text := getattr(seeds, key):
                date.fromisoformat(text)
        except ValueError:
            raise ContractError(f"tasks.{name}.seeds.{key} needs a date such as 2026-01-31, found {text!r}; correct dataset.toml") from None
    return seeds
