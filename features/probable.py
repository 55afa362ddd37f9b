"""Links that are probable, not certain: person records that resemble each other, weighed by Splink (Fellegi and Sunter 1969), learned without labels.

Three kinds of pairs are told apart: one person, two of one household, two strangers. Splink learns how much each agreement weighs against strangers;
what a household shares (surname, address, telephone) weighs nothing against its members, so what belongs to a person alone must speak as well.
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import log, log2
from statistics import median
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import numpy as np

from features.errors import ContractError, UsageError, first_few
from features.persons import PERSONAL, ROLES

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

# How many pairs are compared at most, unless told: so many for each record, and never more than the second number.
_MOST_EACH, _MOST_COMPARISONS = 500, 50_000_000
# A rule whose pairs are fewer than these teaches nothing about agreement; more than the second number teach no more.
_LEAST_TO_LEARN, _MOST_TO_LEARN = 10, 1_000_000
_SAMPLED_PAIRS = 2_000_000
# A kind of disagreement never seen among matches still happens.
_LEAST_M = 0.001
_BY_FREQUENCY = ("given_name", "surname", "birth_date", "phone", "place", "postcode")


@dataclass(frozen=True)
class Learned:
    """What was learned of the records: Splink's settings with their weights, the rules that bring pairs together, and how many pairs are of each kind."""

    engine: "Backend"
    records: tuple[str, ...]  # tables of the engine: one (repeats within it) or two (links between them)
    settings: dict[str, Any]
    rules: dict[tuple[str, ...], int]  # what pairs must agree in to be compared, and how many do
    untaught: tuple[str, ...]  # roles whose weights are starting values: there was too little to learn from
    pairs: ir.Table  # compared, and more alike than strangers are
    share_same: float  # of all pairs
    share_household: float


def require_splink() -> None:
    """Raises: UsageError where Splink is not installed."""
    try:
        import splink  # noqa: F401 (only whether it is there)
    except ImportError:
        raise UsageError(
            "links by probability need Splink, found it not installed; install requirements-extra.lock: "
            ".venv/bin/python -m pip install --no-deps --require-hashes -r requirements-extra.lock") from None


def learn(engine: "Backend", records: Sequence[ir.Table], seed: int = 1, most_comparisons: int | None = None) -> Learned:
    """Learn from records in one form (persons.one_form), without labels: one table to find repeats in it, two to find links between them.

    The same records and seed give the same, in any order of rows.
    Raises: UsageError without Splink, or where the comparisons would be too many; ContractError where the records tell too little of persons.
    """
    require_splink()
    roles = [role for role in ROLES if all(role in table.columns for table in records)]
    sizes = [int(table.count().to_pyarrow().as_py()) for table in records]
    _require_enough(sizes, roles)
    names = tuple(f"records_{'ab'[i]}" for i in range(len(records)))
    for name, table in zip(names, records, strict=True):
        engine.create_table(name, table.select("id", *roles), overwrite=True)
    rules = _blocking_rules([engine.table(name) for name in names], roles, most_comparisons or min(_MOST_EACH * sum(sizes), _MOST_COMPARISONS))
    if not rules:
        raise ContractError("NOTHING_IN_COMMON: some two records must agree in something to be compared, found none that do; look at the columns, as they were read")
    n_pairs = sizes[0] * sizes[1] if len(sizes) == 2 else sizes[0] * (sizes[0] - 1) // 2
    settings, untaught = _trained(engine, names, roles, rules, seed, n_pairs, min(sizes))
    pairs = _weighed(engine, names, settings)
    weights = pairs.select("strangers", "household").to_pyarrow()
    return Learned(engine, names, settings, rules, untaught, pairs, *_shares(weights["strangers"].to_numpy(), weights["household"].to_numpy(), n_pairs))


def _require_enough(sizes: list[int], roles: list[str]) -> None:
    least = 2 if len(sizes) == 1 else 1
    if min(sizes) < least:
        raise ContractError(f"TOO_FEW_RECORDS: links need at least {least} record{'s' * (least - 1)} in a file, found {min(sizes)}; supply more")
    found = ", ".join(roles) or "none"
    if len(roles) < 3:
        raise ContractError(
            f"TOO_FEW_COLUMNS: links by probability need at least three things to compare, such as name, birth_date and postcode; found {found}; "
            "name more columns with --column COLUMN=ROLE, or link equal identifiers in the aliases table")
    if not set(roles) & set(PERSONAL):
        raise ContractError(
            f"NOTHING_PERSONAL: links need something that a household does not share ({', '.join(PERSONAL)} or a full name), found {found}; "
            "without it every family would become one person")


def _blocking_rules(tables: list[ir.Table], roles: list[str], most: int) -> dict[tuple[str, ...], int]:
    """What pairs must agree in to be compared at all, and how many pairs do: each column that tells enough by itself, the others two by two.

    Raises: UsageError where even two columns together bring too many pairs.
    """
    affordable = max(most // 5, 1)
    single = {(role,): _n_agreeing(tables, (role,)) for role in roles}
    coarse = [role for role in roles if single[role,] > affordable]
    double = {both: _n_agreeing(tables, both) for both in itertools.combinations(coarse, 2)}
    found: dict[tuple[str, ...], int] = {}
    for rule, n in sorted((single | double).items(), key=lambda entry: (entry[1], entry[0])):
        if 0 < n <= affordable and sum(found.values()) + n <= most:
            found[rule] = n
    if not found and any((single | double).values()):
        rule, n = min(((rule, n) for rule, n in (single | double).items() if n), key=lambda entry: entry[1])
        raise UsageError(
            f"TOO_MANY_COMPARISONS: a rule may compare {affordable:,} pairs (a fifth of --most-comparisons), found at least {n:,} (that agree in {' and '.join(rule)}); "
            "supply a column that tells people apart, or raise --most-comparisons")
    return found


def _n_agreeing(tables: list[ir.Table], rule: tuple[str, ...]) -> int:
    sizes = [table.drop_null(rule).group_by(rule).agg(n=ibis._.count().cast("float64")) for table in tables]
    if len(sizes) == 2:
        both = sizes[0].join(sizes[1], list(rule), rname="other_{name}")
        n = (both.n * both.other_n).sum()
    else:
        n = (sizes[0].n * (sizes[0].n - 1) / 2).sum()
    return int(n.to_pyarrow().as_py() or 0)


def _comparison(role: str) -> Any:
    """How two values of a role are compared: levels from the same to different, named as people say them."""
    from splink import comparison_level_library as level
    from splink import comparison_library as comparison

    words = [level.JaroWinklerLevel(role, 0.9).configure(label_for_charts="nearly the same"), level.JaroWinklerLevel(role, 0.8).configure(label_for_charts="similar")]
    figures = [level.DamerauLevenshteinLevel(role, 1).configure(label_for_charts="one character off")]
    year, month, day = (tuple(f"substr({role}_{side}, {at}, {n})" for side in "lr") for at, n in ((1, 4), (5, 2), (7, 2)))
    swapped = f"{year[0]} = {year[1]} and {month[0]} = {day[1]} and {day[0]} = {month[1]}"
    before = [f"split_part({role}_{side}, '@', 1)" for side in "lr"]
    close = {
        "birth_date": [*figures, level.CustomLevel(swapped, "day and month swapped")],
        "email": [*figures, level.CustomLevel(f"{before[0]} = {before[1]}", "the same before the @")],
        "id_number": figures, "phone": figures, "postcode": figures,
    }.get(role, words)
    same = level.ExactMatchLevel(role, term_frequency_adjustments=role in _BY_FREQUENCY).configure(label_for_charts="the same")
    missing, different = level.NullLevel(role).configure(label_for_charts="missing"), level.ElseLevel().configure(label_for_charts="different")
    return comparison.CustomComparison(output_column_name=role, comparison_levels=[missing, same, *close, different])


def _linker(engine: "Backend", names: Sequence[str], settings: Any) -> Any:
    import splink

    # Splink says much on the way; what people need to know is said here.
    logging.getLogger("splink").addHandler(logging.NullHandler())
    logging.getLogger("splink").propagate = False
    api = splink.DuckDBAPI(engine.con)
    return splink.Linker([api.register(name) for name in names], settings, log_level=None, validate_settings=False)


def _trained(
        engine: "Backend", names: Sequence[str], roles: list[str], rules: dict[tuple[str, ...], int], seed: int, n_pairs: int, n_records: int,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Splink's settings with what it learned: u from random pairs, m by expectation maximisation within pairs that agree in something personal.

    Pairs brought together by a household's columns would teach what households have in common.
    """
    import splink

    settings = splink.SettingsCreator(
        link_type="link_only" if len(names) == 2 else "dedupe_only", comparisons=[_comparison(role) for role in roles],
        blocking_rules_to_generate_predictions=[splink.block_on(*rule) for rule in rules], unique_id_column_name="id",
        probability_two_random_records_match=min(0.1 * n_records / n_pairs, 0.5), retain_matching_columns=True, retain_intermediate_calculation_columns=True)
    linker = _linker(engine, names, settings)
    linker.training.estimate_u_using_random_sampling(max_pairs=_SAMPLED_PAIRS, seed=seed, num_chunks=1)
    learned = linker.misc.save_model_to_json()
    tables = [engine.table(name) for name in names]
    lessons = []
    for rule in (("id_number",), ("email",), ("birth_date",), ("given_name", "surname")):
        n = _n_agreeing(tables, rule) if set(rule) <= set(roles) else 0
        if n >= _LEAST_TO_LEARN and set(roles) - set(rule):
            lessons.append(_lesson(engine, names, learned, rule, _MOST_TO_LEARN if n > _MOST_TO_LEARN else None))
    for comparison in learned["comparisons"]:
        taught = [lesson[comparison["output_column_name"]] for lesson in lessons if comparison["output_column_name"] in lesson]
        for i, level in enumerate(_levels(comparison)):
            level["u_probability"] = max(level.get("u_probability", 0), 1 / min(n_pairs + 1, _SAMPLED_PAIRS))
            if taught:
                level["m_probability"] = max(median(lesson[i] for lesson in taught), _LEAST_M)
    return learned, tuple(role for role in roles if not any(role in lesson for lesson in lessons))


def _levels(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    return [level for level in comparison["comparison_levels"] if not level.get("is_null_level")]


def _lesson(engine: "Backend", names: Sequence[str], settings: dict[str, Any], rule: tuple[str, ...], most_pairs: int | None) -> dict[str, list[float]]:
    """What the pairs that agree in a rule teach: by role, m of each level, 0 for a level that no match reached.

    Empty: where all matches agree in all, as in a copy; Splink then gives up on an m that falls to 0.
    """
    import splink

    linker = _linker(engine, names, settings)
    try:
        linker.training.estimate_parameters_using_expectation_maximisation(splink.block_on(*rule), max_pairs=most_pairs)
    except ValueError as error:
        if "m_probability value" not in str(error):
            raise
        return {}
    comparisons = {one["output_column_name"]: [level.get("m_probability", 0.0) for level in _levels(one)] for one in linker.misc.save_model_to_json()["comparisons"]}
    return {role: shares for role, shares in comparisons.items() if any(shares)}


def _weighed(engine: "Backend", names: Sequence[str], settings: dict[str, Any], is_asked: bool = False) -> ir.Table:
    """Pairs with, for each role, the level reached and its weight in bits, and the weight of all: against strangers, and against others of the household.

    Pairs are those that the rules bring together and that resemble each other more than strangers do; or the asked one, whatever it is.
    """
    prior = settings["probability_two_random_records_match"]
    found = _linker(engine, names, settings).inference.predict(threshold_match_weight=None if is_asked else log2(prior / (1 - prior)), warning_mode="never")
    pairs = engine.table(found.physical_name)
    weights, levels = {}, {}
    for comparison in settings["comparisons"]:
        role = comparison["output_column_name"]
        by_frequency = f"mw_tf_adj_{role}"
        weights[role] = pairs[f"mw_{role}"] + (pairs[by_frequency] if by_frequency in pairs.columns else 0)
        labels = [one["label_for_charts"] for one in comparison["comparison_levels"]]
        levels[role] = pairs[f"gamma_{role}"].cases(*((len(labels) - 1 - i if i else -1, label) for i, label in enumerate(labels)), else_=ibis.null("string"))
    personal = [ibis.least(weights[role], ibis.literal(log2(1 / PERSONAL[role]))) for role in weights if role in PERSONAL]
    return pairs.select(
        "id_l", "id_r", **{f"weight_{role}": weight for role, weight in weights.items()}, **{f"level_{role}": level for role, level in levels.items()},
        strangers=sum(weights.values(), ibis.literal(0.0)), household=sum(personal, ibis.literal(0.0)))


def _shares(strangers: np.ndarray[Any, Any], household: np.ndarray[Any, Any], n_pairs: int) -> tuple[float, float]:
    """Which share of all pairs is one person, and which two of one household: expectation maximisation over the weighed pairs, one of each added as a start."""
    same = other = 1 / (n_pairs + 2)
    for _ in range(200):
        against = np.exp2(-strangers) / same + np.exp2(-household) * (other / same)
        is_same = 1 / (1 + against)
        is_household = is_same * np.exp2(-household) * (other / same)
        before, same, other = same, (is_same.sum() + 1) / (n_pairs + 2), (is_household.sum() + 1) / (n_pairs + 2)
        if abs(same - before) <= 1e-9 * same:
            break
    return float(same), float(other)


def _with_confidence(learned: Learned, pairs: ir.Table) -> ir.Table:
    """Add `confidence`: the probability of one person, against strangers and against others of the household. It is never 1: nothing here is certain."""
    strangers = (-pairs.strangers * log(2)).exp() / learned.share_same
    household = (-pairs.household * log(2)).exp() * (learned.share_household / learned.share_same)
    return pairs.mutate(confidence=ibis.least((1 / (1 + strangers + household)).round(6), 0.999999))


def proposed_links(learned: Learned, linked_at: datetime, threshold: float = 0.95, one_to_one: bool = False, kinds: tuple[str, str] = ("customer", "customer")) -> ir.Table:
    """Rows for the aliases table: `alias` of the second file (of one file: the later id) is probably the person `customer_id`; with `confidence` and, in words, the `reason`.

    Times are written with their zone, since a dataset reads those without as local. With one_to_one a record is linked at most once: to the record that it
    resembles most and that resembles it most.
    Grain: pair of records with at least the threshold's probability. Raises: UsageError where an id of one kind stands in both files.
    """
    if len(learned.records) == 2 and kinds[0] == kinds[1]:
        left, right = (learned.engine.table(name).id for name in learned.records)
        both = left.as_table().filter(left.isin(right)).order_by("id").id.to_pyarrow().to_pylist()
        if both:
            raise UsageError(f"two files of the kind {kinds[0]} need ids of their own, found {len(both):,} in both ({first_few(both)}); say what they are, such as --kind crm shop")
    pairs = _with_confidence(learned, learned.pairs)
    pairs = pairs.filter(pairs.confidence >= threshold)
    if one_to_one:
        def rank(own: str, other: str) -> ir.IntegerValue:
            best = [ibis.desc(pairs.confidence), ibis.desc(pairs.strangers), pairs[other]]
            return ibis.row_number().over(ibis.window(group_by=own, order_by=best))

        pairs = pairs.mutate(left=rank("id_l", "id_r"), right=rank("id_r", "id_l")).filter(lambda t: (t.left == 0) & (t.right == 0))
    said = []
    for name in pairs.columns:
        if name.startswith("level_"):
            role, level, weight = name.removeprefix("level_"), pairs[name], pairs[f"weight_{name.removeprefix('level_')}"].round(1)
            text = ibis.literal(role.replace("_", " ") + " ") + level + " (" + ibis.ifelse(weight >= 0, "+", "") + weight.cast("string") + ")"
            said.append(ibis.ifelse(level == "missing", ibis.null("string"), text))
    return pairs.select(
        alias=pairs.id_r, alias_kind=ibis.literal(kinds[1]), customer_id=pairs.id_l, customer_kind=ibis.literal(kinds[0]), linked_at=ibis.literal(linked_at.replace(tzinfo=UTC)),
        unlinked_at=ibis.null("timestamp('UTC')"), confidence=pairs.confidence, reason=ibis.literal(", ").join(said)).order_by("customer_id", "alias")


def explain(learned: Learned, left: str, right: str) -> dict[str, Any]:
    """One pair, compared or not: its `confidence`, the weights `strangers` and `household`, and by role the level reached and its weight.

    Raises: UsageError for an id that there is not.
    """
    if len(learned.records) == 1 and left == right:
        raise UsageError(f"--explain needs two different records, found {left} twice; correct it")
    names = []
    for name, wanted in zip(learned.records, [[left, right]] if len(learned.records) == 1 else [[left], [right]], strict=True):
        table = learned.engine.table(name)
        missing = sorted(set(wanted) - set(table.filter(table.id.isin(wanted)).id.to_pyarrow().to_pylist()))
        if missing:
            raise UsageError(f"--explain needs two ids of the records, found no record {missing[0]}; correct it")
        learned.engine.create_table(f"asked_{name}", table.mutate(is_asked=ibis.ifelse(table.id.isin(wanted), "yes", ibis.null("string"))), overwrite=True)
        names.append(f"asked_{name}")
    settings = {**learned.settings, "blocking_rules_to_generate_predictions": [{"blocking_rule": "l.is_asked = r.is_asked", "sql_dialect": "duckdb"}]}
    return dict(_with_confidence(learned, _weighed(learned.engine, names, settings, is_asked=True)).to_pyarrow().to_pylist()[0])


def weights_in_words(learned: Learned) -> list[str]:
    """For each role, what each level of agreement weighs in bits, before the frequency of the value is taken into account."""
    lines = []
    for comparison in learned.settings["comparisons"]:
        said = ", ".join(f"{one['label_for_charts']} {log2(one['m_probability'] / one['u_probability']):+.1f}" for one in _levels(comparison) if "m_probability" in one)
        lines.append(f"{comparison['output_column_name']}: {said or 'starting values, for lack of anything to learn from'}")
    return lines


def values_of(learned: Learned, left: str, right: str) -> dict[str, tuple[str | None, str | None]]:
    """What two records say, by role, as it was compared: personal, for those who ask for it."""
    rows = []
    for name, wanted in ((learned.records[0], left), (learned.records[-1], right)):
        table = learned.engine.table(name)
        rows.append(table.filter(table.id == wanted).to_pyarrow().to_pylist()[0])
    return {role: (rows[0][role], rows[1][role]) for role in rows[0] if role != "id"}
