"""Notes: sentences for people that keep their key and what fills them, so that a page can say them in another language."""


class Note(str):
    """A sentence; `key`, `template` and `values` are what it was made of."""

    key: str
    template: str
    values: dict[str, str]


def note(key: str, text: str, **values: object) -> Note:
    """Fill a sentence: note("cut", "{n} sessions are cut", n="12"). A value that is a note stays one."""
    said = Note(text.format(**values))
    said.key, said.template, said.values = key, text, {name: value if isinstance(value, str) else str(value) for name, value in values.items()}
    return said
