"""Shows what was measured, as text or Markdown: rows per workload, figure and contestant, and verdicts on the bars."""

import statistics

import figures
from workloads import FAULTS, GROUPS, WORKLOADS

# The server was the busy process if it ran, or waited for its core, for this share of the time.
BUSY_SHARE_MIN = 0.9
# Waiting for its core for more than this share of the time is worth a word.
WAITED_SHARE_MAX = 0.05


def shown(value):
    if value is None:
        return ""
    return f"{value:.4f}" if 0 < value < 0.1 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def times(ratio):
    return "" if ratio is None else f"{ratio:.2f}x"


def give_or_take(error):
    return "" if not error else f" ±{error:.3f}" if error < 0.1 else f" ±{shown(error)}"


def rows(key, taking_part, results):
    """(figure, contestant, median, median of ratios, spread, remarks), a tuple of words per row."""
    for number, (figure, heading) in enumerate(WORKLOADS[key].figures):
        for contestant in taking_part:
            runs, base = results[contestant.name], results.get(contestant.base, [])
            middle = figures.median_of(runs, figure)
            if middle is None:
                continue
            remarks = about(figures.good(runs)) if number == 0 else ""
            ratios = figures.ratios(runs, base, figure)
            yield (heading, contestant.name, shown(middle), times(figures.median(ratios)) + give_or_take(figures.error(ratios)),
                   f"{figures.spread_percent(runs, figure):.0f} %", remarks)


def troubles(taking_part, results, missing):
    """What could not be measured, and why: rivals that are missing and runs that failed."""
    yield from (f"MISSING: {name}: {reason}" for name, reason in missing.items())
    for contestant in taking_part:
        for run in results[contestant.name]:
            if run and "failed" in run:
                yield f"FAILED: {contestant.name}: {run['failed']}"


def about(runs):
    """Rate, busy share, and whatever went wrong."""
    faults = {fault: sum(run.get(fault, 0) for run in runs) for fault in FAULTS}
    wrong = ", ".join(f"{count} {fault}" for fault, count in faults.items() if count)
    if "server_share" not in runs[0]:
        return wrong or "none lost"
    middle = {name: statistics.median(run[name] for run in runs)
              for name in ["server_share", "load_share", "deliveries_per_s", "server_waited", "gap_ms", "late_ms"]}
    waited = middle["server_waited"]
    shared = f" (kept waiting {waited:.0%})" if waited > WAITED_SHARE_MAX else ""
    busy = "busy" if middle["server_share"] + waited >= BUSY_SHARE_MIN else "not saturated"
    return (f"{middle['deliveries_per_s']:,.0f}/s, server {middle['server_share']:.0%} {busy}{shared}, "
            f"load {middle['load_share']:.0%}, gap {middle['gap_ms']:.1f} ms (load late {middle['late_ms']:.1f}), "
            f"{wrong or '0 lost, doubled, out of order'}")


def legend(key, taking_part):
    """What each of a group does."""
    if key in GROUPS:
        yield from (f"{contestant.name}: {contestant.workload.what}" for contestant in taking_part)


def print_workload(key, taking_part, results, missing):
    print(f"\n{key}. {WORKLOADS[key].what}")
    for line in legend(key, taking_part):
        print(f"   {line}")
    for trouble in troubles(taking_part, results, missing):
        print(f"   {trouble}")
    width = max([14, *(len(contestant.name) for contestant in taking_part)])
    for heading, name, middle, ratio, spread, remarks in rows(key, taking_part, results):
        print(f"   {heading:28} {name:{width}} {middle:>9} {ratio:>14}  spread {spread:>6}  {remarks}")


def print_verdicts(verdicts):
    print("\nBars (medians of the ratios within each round, ± their standard error)")
    for verdict in verdicts:
        bar = verdict.bar
        note = f"  ({verdict.note})" if verdict.note else ""
        print(f"   {verdict.word:25} {bar.workload:4} {verdict.subject:14} {measured(verdict):>14} "
              f"of {shown(bar.limit):>6}  {bar.what}{note}")


def measured(verdict):
    return (shown(verdict.measured) or "-") + give_or_take(verdict.error)


def markdown_workload(key, taking_part, results, missing):
    yield f"\n**{key.replace('*', chr(92) + '*')}. {WORKLOADS[key].what}**\n"
    yield from (f"* {line}" for line in legend(key, taking_part))
    yield from (f"* {trouble}" for trouble in troubles(taking_part, results, missing))
    yield "\n| figure | server | median | median of ratios | spread | remarks |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    for row in rows(key, taking_part, results):
        yield f"| {' | '.join(row)} |"


def markdown_verdicts(verdicts):
    yield "| bar | workload | server | measured | at most | verdict | note |"
    yield "| --- | --- | --- | ---: | ---: | --- | --- |"
    for verdict in verdicts:
        words = [verdict.bar.what, verdict.bar.workload, verdict.subject, measured(verdict), shown(verdict.bar.limit),
                 verdict.word, verdict.note]
        yield f"| {' | '.join(words)} |"
