"""One module for each command of the features room's door: its words, and what it does."""
