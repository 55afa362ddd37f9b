"""Made-up families, some of whose members come twice, and how well links find them."""

import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

SURNAMES = ("smith", "jones", "taylor", "brown", "wilson", "evans", "thomas", "johnson", "roberts", "walker", "wright", "robinson", "thompson", "white", "hughes", "edwards")
GIVEN_NAMES = (
    "jack", "olivia", "harry", "amelia", "jacob", "isla", "charlie", "emily", "thomas", "ava", "george", "lily", "oscar", "ella", "james", "mia", "william", "jessica", "noah",
    "sophia", "alfie", "poppy", "leo", "grace")


def families(n: int, seed: int = 1) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Families at one address and telephone, a tenth of whose members come twice with slips -> rows, and who each id is."""
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []

    def slip(text: str) -> str:
        at = draw.randrange(len(text) - 1)
        return text[:at] + text[at + 1] + text[at] + text[at + 2:]

    for _ in range(n):
        home = {"surname": draw.choice(SURNAMES), "address": f"{draw.randrange(300)} {draw.choice(['mill', 'park', 'church', 'castle'])} road",
                "postcode": str(draw.randrange(10000, 10300)), "phone": f"07{draw.randrange(10**9):09}"}
        for _ in range(draw.choice([1, 2, 3, 4])):
            person = {**home, "given_name": draw.choice(GIVEN_NAMES), "birth_date": (date(1940, 1, 1) + timedelta(days=draw.randrange(25000))).isoformat()}
            rows.append(person)
            if draw.random() < 0.1:
                column = draw.choice(list(person))
                rows.append({**person, column: slip(person[column]), "again": len(rows) - 1})
    is_who = [row.pop("again", i) for i, row in enumerate(rows)]
    draw.shuffle(order := list(range(len(rows))))
    return [{"id": f"r{at:04}", **rows[i]} for at, i in enumerate(order)], {f"r{at:04}": is_who[i] for at, i in enumerate(order)}


def figures(found: list[dict[str, Any]], who: Callable[[str], Any], n_true: int) -> tuple[float, float, float]:
    """Precision, recall and F1 of links."""
    right = sum(who(row["alias"]) == who(row["customer_id"]) for row in found)
    precision, recall = right / max(len(found), 1), right / n_true
    return precision, recall, 2 * right / (len(found) + n_true)
