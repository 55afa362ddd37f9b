"""Journeys: sessions and their stages, funnels, paths, attribution, and the touchpoints to look at first. All of it describes; none of it is causal."""
