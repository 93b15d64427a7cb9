"""One night: list, plan, extract, score, aggregate, publish."""
