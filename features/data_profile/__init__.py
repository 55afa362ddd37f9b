"""The profile of a dataset: what there is, how it is spread, how it moves over time, what looks wrong, and what each family of features has to work with."""
