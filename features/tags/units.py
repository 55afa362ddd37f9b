"""Thresholds in the unit of what they are compared with; a number without its unit is refused, since nobody knows what it was meant in."""

from features.errors import ContractError, first_few
from features.tags.rules import Compare, Value

# Units of what is a plain number: places on a scale or a clock, and ratios.
PLAIN = ("ratio", "nats", "number", "score", "stage", "points", "hour", "weekday", "month", "likeness")
SHARE, PERCENT, TEXT, YES_OR_NO = "share", "percent", "category", "yes or no"
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
# Other words for a unit, as people say them.
_ALSO = {"sessions": ("visit",), "purchases": ("order",)}


def converted(found: Compare, unit: str, texts: tuple[str, ...], where: str) -> tuple[float | str | bool, ...]:
    """The values of a comparison in the unit of its column. `texts`: the only ones that there are, where that is known.

    Raises: ContractError for a unit that is missing, too many or another, and for a text where there are numbers or the other way round.
    """
    if unit in (TEXT, YES_OR_NO) and found.operator not in ("=", "!=", "in"):
        raise ContractError(f"TAG_VALUE: {where} needs =, != or in with {found.name}, which is {'a text' if unit == TEXT else unit}, found {found.operator}; correct it")
    return tuple(_one(value, found.name, unit, texts, where) for value in found.values)


def _one(value: Value, name: str, unit: str, texts: tuple[str, ...], where: str) -> float | str | bool:
    is_text, is_bool = isinstance(value.value, str), isinstance(value.value, bool)
    if unit == TEXT:
        if not is_text:
            raise ContractError(f"TAG_VALUE: {where} needs a text in quotes for {name}, found {value.value}; write for example {name} = '{texts[0] if texts else 'app'}'")
        if texts and value.value not in texts:
            from difflib import get_close_matches

            near = get_close_matches(str(value.value), texts, 1, 0.5)
            raise ContractError(
                f"TAG_VALUE: {where} needs one of {first_few(texts, 8)} for {name}, found {value.value!r}; {f'did you mean {near[0]}?' if near else 'correct it'}")
        return value.value
    if unit == YES_OR_NO:
        if not is_bool:
            raise ContractError(f"TAG_VALUE: {where} needs true or false for {name}, found {value.value!r}; write for example {name} = true")
        return float(value.value)
    if is_text or is_bool:
        raise ContractError(f"TAG_VALUE: {where} needs a number for {name}, which is in {unit}, found {value.value!r}; correct it")
    return float(value.value) * _factor(value, name, unit, where)


def _factor(value: Value, name: str, unit: str, where: str) -> float:
    """How many of the column's units are one of the value's."""
    said = value.unit
    if unit in PLAIN:
        if not said:
            return 1.0
        raise ContractError(f"TAG_UNIT: {where} needs a plain number for {name} ({unit}), found the unit {said!r}; leave it out")
    wanted = "%" if unit in (SHARE, PERCENT) else unit
    if not said:
        raise ContractError(f"TAG_UNIT: {where} needs a unit for the threshold of {name}, found {value.value:g} without; write {value.value:g} {wanted}")
    if said == wanted:
        return 0.01 if unit == SHARE else 1.0
    word, own = said.lower().removesuffix("s"), unit.lower().removesuffix("s")
    if unit in ("days", "seconds") and word in _SECONDS:
        return _SECONDS[word] / _SECONDS[own]
    is_money = unit.isupper()
    if not is_money and unit not in (SHARE, PERCENT, "days", "seconds") and word in (own, "time", *_ALSO.get(unit, ())):
        return 1.0
    raise ContractError(f"TAG_UNIT: {where} needs {wanted} for the threshold of {name}, found {said!r}; write {value.value:g} {wanted}, converted if need be")
