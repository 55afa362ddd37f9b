"""Segments: customers treated alike, in five schemes; what sets each apart, who moved, and what became of those who came together."""
