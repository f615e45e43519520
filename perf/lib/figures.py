"""Medians, ratios, their errors and spread over the rounds of a contestant; a round may be None (left out) or have failed."""

import random
import statistics

RESAMPLES = 400


def good(runs):
    return [run for run in runs if run and "failed" not in run]


def values(runs, figure):
    """(start, value) of each round; all rounds between two starts of the servers have one number for a start."""
    return [(run.get("start", place), run[figure]) for place, run in enumerate(good(runs)) if figure in run]


def median(points):
    return statistics.median(value for _, value in points) if points else None


def median_of(runs, figure):
    return median(values(runs, figure))


def ratios(runs, base, figure):
    """(start, ratio) of each round: noise that lasts longer than a round leaves the ratios within it alone."""
    both = [(run, against) for run, against in zip(runs, base) if good([run]) and good([against])]
    return [(run.get("start", place), run[figure] / against[figure])
            for place, (run, against) in enumerate(both) if against.get(figure)]


def median_of_ratios(runs, base, figure):
    return median(ratios(runs, base, figure))


def error(points):
    """The standard error of the median of `points`, by the medians of samples drawn from them; None of a single one.

    Whole starts are drawn: one process of a binary differs from the next by more than its rounds from each other. Of a
    single start its rounds are, and what starts differ by is not in the error.
    """
    if len(points) < 2:
        return None
    starts = {}
    for start, value in points:
        starts.setdefault(start, []).append(value)
    rows = list(starts.values()) if len(starts) > 1 else [[value] for _, value in points]
    draw, few = random.Random(0), (len(rows) / (len(rows) - 1)) ** 0.5
    samples = (draw.choices(rows, k=len(rows)) for _ in range(RESAMPLES))
    return few * statistics.stdev(statistics.median(value for row in sample for value in row) for sample in samples)


def spread_percent(runs, figure):
    found, middle = [value for _, value in values(runs, figure)], median_of(runs, figure)
    return (max(found) - min(found)) / middle * 100 if middle else 0.0
