"""demo-shop: a simulated multi-channel shop whose truth is known, of any size, from a seed.

world (its numbers) -> people -> weeks (hidden states, counts) -> visits (events) -> observer (the truth that could be known) -> simulate (files).
"""
