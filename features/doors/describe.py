"""python -m features describe and portrait: the data dictionary, and one customer in words."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from features.doors.times import observed_moment

if TYPE_CHECKING:
    from features.feature import Feature

# What --include and --exclude may say.
_CHOICE = "a name, a pattern such as 'spend_*', family:NAME, or sensitive, actionable, treatment, undated, category"
_SHOWN = ("name", "family", "unit", "no_data", "label_en", "label_zh", "flags", "needs")


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The words that choose features."""
    for word, does in (("include", "only"), ("exclude", "all but")):
        parser.add_argument(f"--{word}", nargs="+", default=[], metavar="WORD", help=f"{does} the features that a word means: {_CHOICE}")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the commands."""
    describe = commands.add_parser("describe", help="the data dictionary", epilog="example: python -m features describe --include family:interest --json")
    describe.add_argument("--data", default="complete-journey", metavar="DATA")
    describe.add_argument("--json", action="store_true", help="as JSON instead of Markdown")
    add_choice(describe)
    describe.set_defaults(do=_describe)
    portrait = commands.add_parser(
        "portrait", help="one customer in words, by family, and what is not known of them",
        epilog="example: python -m features portrait complete-journey 1123 --as-of 2017-12-01 --lang zh")
    portrait.add_argument("data", metavar="DATA", help="complete-journey, demo-shop, or a folder of tables")
    portrait.add_argument("customer", metavar="CUSTOMER", help="a customer_id")
    portrait.add_argument("--as-of", required=True, metavar="T", help="the moment; without an offset it is a local time of the dataset's zone")
    portrait.add_argument("--lang", choices=("en", "zh"), default="en", help="the language (default en)")
    portrait.add_argument("--sensitive", action="store_true", help="show sensitive values too")
    add_choice(portrait)
    portrait.set_defaults(do=_portrait)


def _describe(given: argparse.Namespace) -> None:
    from collections import Counter

    from features.snapshots import features_of
    from features.sources import open_dataset

    features, _ = features_of(open_dataset(given.data), given.include, given.exclude)
    rows = [_entry(feature) for feature in features]
    if given.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    counts = Counter(feature.family for feature in features)
    print(f"{len(features)} features: {', '.join(f'{n} {family}' for family, n in counts.items())}\n")
    print("| feature | family | unit | no data | meaning | 含义 | flags | needs |\n|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = [", ".join(value) if isinstance(value, list) else str(value) for value in (row[column] for column in _SHOWN)]
        print(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")


def _portrait(given: argparse.Namespace) -> None:
    from features.contracts import hold
    from features.portrait import portrait, values_of
    from features.snapshots import features_of
    from features.sources import open_dataset

    dataset, _ = hold(open_dataset(given.data))
    as_of = observed_moment(given.as_of, dataset)
    features, _ = features_of(dataset, given.include, given.exclude)
    values = values_of(dataset, given.customer, as_of, features)
    print("\n".join(portrait(dataset, given.customer, as_of, features, values, given.lang, given.sensitive)))


def _entry(feature: "Feature") -> dict[str, Any]:
    from features.streams import needs_of

    flags = [name[3:] for name in ("is_actionable", "is_sensitive", "is_treatment", "is_undated", "is_category") if getattr(feature, name)]
    needs = sorted({need for aggregate in feature.aggregates() for need in needs_of(aggregate)})
    return {"name": feature.name, "family": feature.family, "unit": feature.unit, "no_data": feature.no_data,
            "label_en": feature.label_en, "label_zh": feature.label_zh, "flags": flags, "needs": needs}
