"""Medians, ratios, their errors and spread over the rounds of a contestant; a round may be None (left out) or have failed."""

import random
import statistics

RESAMPLES = 400


def good(runs):
    return [run for run in runs if run and "failed" not in run]


def values(runs, figure):
    return [run[figure] for run in good(runs) if figure in run]


def median(values):
    return statistics.median(values) if values else None


def median_of(runs, figure):
    return median(values(runs, figure))


def ratios(runs, base, figure):
    """Ratios within each round, which noise that lasts longer than a round leaves alone."""
    both = [(run, against) for run, against in zip(runs, base) if good([run]) and good([against])]
    return [run[figure] / against[figure] for run, against in both if against.get(figure)]


def median_of_ratios(runs, base, figure):
    return median(ratios(runs, base, figure))


def error(values):
    """The standard error of the median of `values`, by the medians of samples drawn from them; None of a single one.

    They are drawn in rows of neighbours, which share a start of the servers and the mood of the machine.
    """
    if len(values) < 2:
        return None
    draw, length = random.Random(0), round(len(values) ** (1 / 3))
    rows = [values[at:at + length] for at in range(len(values) - length + 1)]
    samples = (draw.choices(rows, k=-(-len(values) // length)) for _ in range(RESAMPLES))
    return statistics.stdev(statistics.median(value for row in sample for value in row) for sample in samples)


def spread_percent(runs, figure):
    found, middle = values(runs, figure), median_of(runs, figure)
    return (max(found) - min(found)) / middle * 100 if middle else 0.0
