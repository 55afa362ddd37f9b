"""Policies: what is done with events that can be meant in two ways, as `[policies]` and `[rates]` of dataset.toml declare it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

from features.errors import ContractError

# A rate has at most so many digits after the point, so that what it converts is exact before it is rounded.
RATE_DIGITS = 9


@dataclass(frozen=True)
class Policies:
    """What each kind of doubtful event meets. `kinds` are all that there are, any if empty; `rates` say how much of the dataset's currency one of another is."""

    duplicate_event_id: Literal["refuse", "first", "last", "quarantine"] = "refuse"
    negative_amount: Literal["quarantine", "refuse", "return"] = "quarantine"
    negative_quantity: Literal["quarantine", "refuse", "return"] = "quarantine"
    negative_discount: Literal["warn", "quarantine", "refuse", "positive"] = "warn"
    zero_amount: Literal["keep", "quarantine"] = "keep"
    other_currency: Literal["refuse", "quarantine", "convert"] = "refuse"
    unmatched_return: Literal["warn", "quarantine"] = "warn"
    future_minutes: int = 5
    kinds: tuple[str, ...] = ()
    rates: Mapping[str, Decimal] = field(default_factory=dict)


# What may be declared of each.
CHOICES: dict[str, tuple[str, ...]] = {one.name: get_args(one.type) for one in fields(Policies) if get_origin(one.type) is Literal}


def policies_of(said: dict[str, Any], currency: str) -> Policies:
    """The declared policies. Raises: ContractError for one that there is not, a rate that is none, rates that nothing would use."""
    given = dict(said.get("policies", {}))
    for key, choices in CHOICES.items():
        if given.get(key, choices[0]) not in choices:
            raise ContractError(f"policies.{key} must be {', '.join(choices[:-1])} or {choices[-1]}, found {given[key]!r}; correct dataset.toml")
    if given.get("future_minutes", 0) < 0:
        raise ContractError(f"policies.future_minutes must be 0 or more, found {given['future_minutes']}; correct dataset.toml")
    rates = {code: _rate(code, rate, currency) for code, rate in said.get("rates", {}).items()}
    if rates and given.get("other_currency") != "convert":
        raise ContractError(f'rates need other_currency = "convert" in [policies], found {given.get("other_currency", "none")}; write it there, or take [rates] away')
    return Policies(**{**given, "kinds": tuple(given.get("kinds", ()))}, rates=rates)


def _rate(code: str, given: float, currency: str) -> Decimal:
    if not re.fullmatch("[A-Z]{3}", code) or code == currency:
        raise ContractError(f"rates must name other currencies such as USD (ISO 4217), found {code!r}; correct dataset.toml")
    rate = Decimal(str(given))
    if not (rate.is_finite() and 0 < rate < 1_000_000 and rate == round(rate, RATE_DIGITS)):
        raise ContractError(
            f"rates.{code} must be how many {currency} one {code} is: above 0, below a million, at most {RATE_DIGITS} decimals; found {given}; correct dataset.toml")
    return rate
