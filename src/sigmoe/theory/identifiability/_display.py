"""The report of an identifiability check on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sigmoe.theory.identifiability._analyse import StratumReport
from sigmoe.theory.identifiability._report import IdentifiabilityReport, equations, legend

_ANSWERS = {True: "yes", False: "no", None: "not decided"}


def print_report(report: IdentifiabilityReport, console: Console) -> None:
    """Print verdicts, a table of the strata, and the equations of each."""
    console.print(report.title, style="bold", highlight=False)
    for line in report.verdicts:
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    console.print(_table(report))
    printed = []
    for stratum in report.strata:
        lines = equations(stratum)
        printed += lines
        if lines:
            console.print(f"{stratum.name}, {stratum.at}", style="bold", highlight=False)
        for line in lines:
            # Equations are to be copied: they keep to one line each.
            console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    for note in legend(printed):
        console.print(escape(note), highlight=False, soft_wrap=True)


def _table(report: IdentifiabilityReport) -> Table:
    table = Table(
        title="Zeros and pivots: what counts as dependent lies below the gap, the rest above.",
        title_justify="left",
    )
    for name in ("parameters", "derivatives"):
        table.add_column(name)
    for name in ("functions", "rank", "float64", "zeros below", "pivots above"):
        table.add_column(name, justify="right")
    for name in ("independent", "but for trivial"):
        table.add_column(name)
    for stratum in report.strata:
        table.add_row(*_row(stratum))
    return table


def _row(stratum: StratumReport) -> tuple[str, ...]:
    zero, pivot = stratum.gap
    essential = stratum.essential
    return (
        stratum.name,
        stratum.at,
        str(stratum.n_functions),
        str(stratum.rank),
        str(stratum.float64_rank),
        "none" if stratum.rank == stratum.n_functions else _power(zero),
        _power(pivot) if stratum.rank else "none",
        _ANSWERS[stratum.independent],
        _ANSWERS[None if essential is None else not essential],
    )


def _power(exponent: float) -> str:
    return "exact" if exponent == float("-inf") else f"1e{exponent:.0f}"
