"""The file of tags: what each is called, its rule, how long it holds and whose it is; read, and held against what the data can tell."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.declaration import hold_keys, line_of
from features.errors import ContractError, first_few
from features.tags.known import Column
from features.tags.rules import Compare, Rule, columns_in, parse, tags_in, walk
from features.tags.units import YES_OR_NO, converted

DEFAULT, OWN = Path(__file__).with_name("default.toml"), "tags.toml"
LAYERS = ("basic", "behaviour", "model")
_TEXTS = ("rule", "value")  # a text, or a list of them
_TAG = {"label_en": str, "label_zh": str, "layer": str, "valid_days": int, "owner": str, "excludes": [str], "sensitive": bool}


@dataclass(frozen=True)
class Tag:
    """One tag. `rules` are alternatives: the first that the data allow counts. `values` names for each the feature whose value the tag tells, if any."""

    name: str
    label_en: str
    label_zh: str
    layer: str
    rules: tuple[Rule, ...]
    texts: tuple[str, ...]
    values: tuple[str, ...]
    valid_days: int
    owner: str
    excludes: tuple[str, ...]
    may_be_sensitive: bool
    where: str

    def names(self) -> list[str]:
        """Every column of features and scores that any of its rules names."""
        return list(dict.fromkeys([*(name for rule in self.rules for name in columns_in(rule)), *self.values]))


def read_tags(path: Path, currency: str) -> tuple[Tag, ...]:
    """The tags of a file, and before them those of the default set that it does not replace (`default = false` leaves them out).

    Raises: ContractError for what is no such file, with the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        said = tomllib.loads(text)
    except FileNotFoundError:
        raise ContractError(f"TAG_FILE: the file of tags must be there, found none at {path}; correct the name, or leave it out for the default set") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"TAG_FILE: {path.name} must be a file of UTF-8 text, found {error}; save it again as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"TAG_FILE: {path.name} must be valid TOML, found: {error}; correct that line") from None
    plain = {key: ({name: {k: v for k, v in tag.items() if k not in _TEXTS} if isinstance(tag, dict) else tag for name, tag in value.items()}
                   if key == "tags" and isinstance(value, dict) else value) for key, value in said.items()}
    hold_keys(plain, {"default": bool, "tags": {"*": _TAG}}, (), path.name, text)
    own = tuple(_tag(name, tag, currency, path.name, text) for name, tag in said.get("tags", {}).items())
    if not said.get("default", path != DEFAULT):
        return own
    replaced = {tag.name for tag in own}
    return (*(tag for tag in read_tags(DEFAULT, currency) if tag.name not in replaced), *own)


def _tag(name: str, said: dict[str, Any], currency: str, file: str, text: str) -> Tag:
    line = line_of(text, ("tags", name))
    where = f"{file} line {line}, tag {name},"
    if not re.fullmatch(r"[^\W\d]\w*", name) or name in ("and", "or", "not", "in", "is", "known", "unknown", "true", "false"):
        raise ContractError(f"TAG_DECLARED: {where} needs a name of letters, digits and _ that is no word of a rule, found {name!r}; name it otherwise")
    rules, values = (_texts(said.get(key, []), key, f"{file} line {line_of(text, ('tags', name, key))}, tag {name},") for key in _TEXTS)
    if not rules:
        raise ContractError(f'TAG_DECLARED: {where} needs a rule, found none; write for example rule = "sessions_count_30d > 10 visits"')
    if values and len(values) != len(rules):
        raise ContractError(f"TAG_DECLARED: {where} needs one value for each of its {len(rules)} rules, found {len(values)}; write as many")
    missing = [key for key in ("label_en", "label_zh", "layer", "valid_days", "owner") if not said.get(key)]
    if missing:
        raise ContractError(f"TAG_DECLARED: {where} needs label_en, label_zh, layer, valid_days (1 or more) and owner, found no {', '.join(missing)}; write them")
    if said["layer"] not in LAYERS or said["valid_days"] < 1:
        found = f"{said['layer']!r} and {said['valid_days']}"
        raise ContractError(f"TAG_DECLARED: {where} needs a layer of {', '.join(LAYERS)} and valid_days of 1 or more, found {found}; correct them")
    at_rule = f"{file} line {line_of(text, ('tags', name, 'rule'))}, tag {name},"
    texts = tuple(_in_currency(rule, currency) for rule in rules)
    return Tag(
        name, said["label_en"], said["label_zh"], said["layer"], tuple(parse(rule, at_rule) for rule in texts), texts, tuple(_in_currency(value, currency) for value in values),
        said["valid_days"], said["owner"], tuple(said.get("excludes", [])), said.get("sensitive", False), at_rule)


def _texts(said: Any, key: str, where: str) -> tuple[str, ...]:
    found = [said] if isinstance(said, str) else said
    if not isinstance(found, list) or not all(isinstance(one, str) and one.strip() for one in found):
        raise ContractError(f"TAG_DECLARED: {where} needs a text or a list of texts in {key}, found {said!r}; correct it")
    return tuple(found)


def _in_currency(text: str, currency: str) -> str:
    """{currency} in the name of a feature is written small, as a unit in capitals."""
    return re.sub(r"(?<=_)\{currency\}", currency.lower(), text).replace("{currency}", currency)


def in_order(tags: Sequence[Tag]) -> list[Tag]:
    """The tags so that each comes after those that it names. Raises: ContractError for a cycle, and for a tag that there is not."""
    by_name, done, order = {tag.name: tag for tag in tags}, set[str](), list[Tag]()

    def visit(tag: Tag, way: tuple[str, ...]) -> None:
        if tag.name in way:
            cycle = " -> ".join((*way[way.index(tag.name):], tag.name))
            raise ContractError(f"TAG_CYCLE: {tag.where} needs a rule that does not come back to itself, found the cycle {cycle}; cut it")
        if tag.name in done:
            return
        for name in dict.fromkeys(name for rule in tag.rules for name in tags_in(rule)):
            if name in by_name:
                visit(by_name[name], (*way, tag.name))
        done.add(tag.name)
        order.append(tag)

    for tag in tags:
        visit(tag, ())
    return order


def chosen_rules(tags: Sequence[Tag], columns: Mapping[str, Column]) -> tuple[dict[str, int], dict[str, str]]:
    """For each tag (in_order) the number of the first rule that the data allow; for each that has none, what it lacks.

    Raises: ContractError for a name that nothing has (with the nearest), a threshold without or in another unit, a sensitive feature that is not allowed.
    """
    names, which, lacks = [tag.name for tag in tags], dict[str, int](), dict[str, str]()
    for tag in tags:
        why = []
        for number, rule in enumerate(tag.rules):
            _hold_names(tag, rule, tag.values[number] if tag.values else "", names, columns)
            for part in (part for part in walk(rule) if isinstance(part, Compare)):
                converted(part, columns[part.name].unit, columns[part.name].texts, tag.where)
            told = [*columns_in(rule), *([tag.values[number]] if tag.values else [])]
            missing = [columns[name].lacks for name in told if columns[name].lacks]
            missing += [f"the tag {name}" for name in tags_in(rule) if name not in which]
            if not missing and tag.name not in which:
                which[tag.name] = number
            why += missing
        if tag.name not in which:
            lacks[tag.name] = ", ".join(dict.fromkeys(why))
        odd = [name for name in tag.excludes if name not in names]
        if odd:
            raise ContractError(f"TAG_NAME: {tag.where} needs names of tags in excludes, found {first_few(odd)}; {_nearest(odd[0], names)}")
    return which, lacks


def _hold_names(tag: Tag, rule: Rule, value: str, names: Sequence[str], columns: Mapping[str, Column]) -> None:
    for name in tags_in(rule):
        if name not in names:
            if name in columns:
                example = "= true" if columns[name].unit == YES_OR_NO else "with an operator and a value"
                raise ContractError(f"TAG_RULE: {tag.where} needs {name} {example}, found it alone; only a tag stands alone")
            raise ContractError(f"TAG_NAME: {tag.where} needs names that exist, found {name!r}, which is no tag; {_nearest(name, [*names, *columns])}")
    for name in [*columns_in(rule), *([value] if value else [])]:
        if name not in columns:
            if name in names:
                raise ContractError(f"TAG_RULE: {tag.where} needs the tag {name} alone, found it compared; write only {name}")
            raise ContractError(f"TAG_NAME: {tag.where} needs names that exist, found {name!r}, which is no feature and no score; {_nearest(name, [*columns, *names])}")
        if columns[name].is_sensitive and not tag.may_be_sensitive:
            raise ContractError(f"TAG_SENSITIVE: {tag.where} must not use a sensitive feature unawares, found {name}; leave it out, or write sensitive = true where the law allows")


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(dict.fromkeys(names)), 1, 0.5)
    return f"did you mean {near[0]}?" if near else "python -m features describe lists them"
