"""Medians, ratios and spread over the rounds of a contestant; a round may be None (left out) or have failed."""

import statistics

def good(runs):
    return [run for run in runs if run and "failed" not in run]


def median_of(runs, figure):
    values = [run[figure] for run in good(runs) if figure in run]
    return statistics.median(values) if values else None


def ratio_of_medians(runs, base, figure):
    middle, against = median_of(runs, figure), median_of(base, figure)
    return middle / against if middle is not None and against else None


def median_of_ratios(runs, base, figure):
    """Ratios within each round, which noise that lasts longer than a round leaves alone; their median."""
    both = [(run, against) for run, against in zip(runs, base) if good([run]) and good([against])]
    ratios = [run[figure] / against[figure] for run, against in both if against.get(figure)]
    return statistics.median(ratios) if ratios else None


def spread_percent(runs, figure):
    values, middle = [run[figure] for run in good(runs)], median_of(runs, figure)
    return (max(values) - min(values)) / middle * 100 if middle else 0.0
