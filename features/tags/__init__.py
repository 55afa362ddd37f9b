"""Tags: named, dated statements about customers, by rules that stand in one text file."""
