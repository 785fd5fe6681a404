"""The command ``sigmoe``.

Exit codes: 0 done; 2 bad usage or input; 3 finished, but some tasks failed; 130 interrupted, and
the same command continues. Errors are one line without a traceback.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from sigmoe import __version__
from sigmoe._base.constraints import Choice, Interval, check
from sigmoe._base.errors import SigmoeError, invalid

if TYPE_CHECKING:
    from sigmoe.lab._study import ResolvedStudy

EXIT_BAD_INPUT = 2
EXIT_FAILED_TASKS = 3
EXIT_INTERRUPTED = 130

#: Width of tables where there is no terminal to ask.
_WIDTH = 140

app = typer.Typer(
    name="sigmoe",
    help="Measure how many samples mixtures of experts need, with sigmoid and softmax gates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


#: What of the paper can be reproduced, each a study that comes with the package.
PAPER = ("figure1", "figure2", "table1")

Out = Annotated[
    Path | None, typer.Option(help="Results folder; by default results/ and the preset.")
]
Workers = Annotated[int | None, typer.Option(help="Worker processes; by default one a processor.")]
Scheduler = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Use the workers of this Dask scheduler.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over instead of continuing.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]


@app.callback(invoke_without_command=True)
def common(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Show the version, or go on to a command."""
    if version:
        typer.echo(f"sigmoe {__version__}")
        raise typer.Exit


@app.command()
def reproduce(
    what: Annotated[
        str, typer.Argument(metavar="{figure1|figure2|table1|all}", help="What of the paper.")
    ],
    preset: Annotated[str, typer.Option(help="quick (minutes), paper or asymptotic.")] = "quick",
    out: Out = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    fresh: Fresh = False,
) -> None:
    """Reproduce the paper's figures and table: fits, slopes, figures, report."""
    with _told():
        from sigmoe.lab._builtin import builtin_study

        known = Choice((*PAPER, "all"))
        check("the argument of reproduce", what, known, "Choose one of these.")
        names = PAPER if what == "all" else (what,)
        studies = tuple(builtin_study(name).resolve(preset) for name in names)
        _run(studies, out or Path("results") / preset, workers, scheduler, fresh)


@app.command()
def run(
    study: Annotated[list[Path], typer.Argument(metavar="STUDY.toml...", help="Study files.")],
    preset: Annotated[
        str | None, typer.Option(help="Which preset; may be left out if there is only one.")
    ] = None,
    out: Out = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    fresh: Fresh = False,
) -> None:
    """Run studies of your own."""
    with _told():
        from sigmoe.lab._study_file import load_study

        studies = tuple(load_study(path).resolve(preset) for path in study)
        name = "+".join(f"{s.name}-{s.preset}" for s in studies)
        _run(studies, out or Path("results") / name, workers, scheduler, fresh)


@app.command()
def status(
    directory: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show how far a run is."""
    with _told():
        from sigmoe.lab._store import Store
        from sigmoe.lab._summary import folder_state, state_table

        state = folder_state(Store.existing(directory))
        if as_json:
            typer.echo(json.dumps(state, indent=2))
        else:
            _console().print(state_table(state))


@app.command()
def report(directory: Folder) -> None:
    """Write losses, slopes, figures and report anew from what is stored, without fitting."""
    with _told():
        from sigmoe.lab._run import conclude
        from sigmoe.lab._store import Store
        from sigmoe.lab._summary import slope_table

        store = Store.existing(directory)
        summary = conclude(store, _console(stderr=True))
        console = _console()
        console.print(slope_table(store))
        console.print(f"report: {escape(str(summary.report))}", soft_wrap=True)


@app.command()
def claims(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Claims; by default all.")
    ] = None,
    check_again: Annotated[
        bool, typer.Option("--check", help="Measure the evidence again, minutes at most a claim.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="With --check, also what takes longer.")
    ] = False,
    evidence: Annotated[
        Path | None, typer.Option(help="Evidence that an earlier --check wrote with --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --check, write the evidence here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Say which claims of the paper hold, with the evidence."""
    with _told():
        from sigmoe import ledger

        _require_check(check_again, deep, out)
        chosen = ledger.claims_named(names or ())
        stored = ledger.load(evidence or ledger.SHIPPED)
        if check_again and out is not None:
            # Better to fail now than after an hour of measuring.
            ledger.dump(stored, out)
        for claim in chosen if check_again else ():
            stored = ledger.merged(stored, ledger.measured((claim,), deep, _say))
            if out is not None:
                ledger.dump(stored, out)
        if as_json:
            typer.echo(json.dumps(ledger.as_data(chosen, stored), indent=2))
        elif names or check_again:
            typer.echo("\n\n".join(ledger.full_text(claim, stored) for claim in chosen))
        else:
            _console().print(ledger.overview(chosen, stored))


def _require_check(check_again: bool, deep: bool, out: Path | None) -> None:
    for name, given in (("--deep", deep), ("--out", out is not None)):
        if given and not check_again:
            raise invalid(name, "used with --check", "no --check", "Add --check.")


@app.command()
def identify(
    gate: Annotated[str, typer.Option(help="sigmoid or softmax.")] = "sigmoid",
    score: Annotated[str, typer.Option(help="full, partial or linear.")] = "full",
    expert: Annotated[
        str, typer.Option(help="relu, gelu, tanh, linear, polynomial:P, scaled-relu, ...")
    ] = "relu",
    dim: Annotated[int, typer.Option(help="Input dimension; 2 shows all kinds of relations.")] = 2,
    condition: Annotated[
        str | None,
        typer.Option(help="strong, weak, partial-strong or partial-weak; by default strong."),
    ] = None,
    extended: Annotated[
        bool, typer.Option("--extended", help="Add derivatives in c: eq. (8) is found there.")
    ] = False,
    atoms: Annotated[
        int | None, typer.Option(help="Atoms at a time; by default 2, with softmax gates 3.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws parameters and inputs.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Check whether an expert is identifiable, and print the equations that break it."""
    with _told():
        from sigmoe.moe import Architecture
        from sigmoe.theory import check_identifiability
        from sigmoe.theory.identifiability._display import print_report

        architecture = Architecture(gate=gate, score=score, expert=expert, dim=dim)
        asked = condition or ("partial-strong" if score == "partial" else "strong")
        found = check_identifiability(
            architecture, asked, extended=extended, n_atoms=atoms, seed=seed
        )
        if as_json:
            typer.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
        else:
            print_report(found, _console())


def _run(
    studies: tuple[ResolvedStudy, ...],
    out: Path,
    workers: int | None,
    scheduler: str | None,
    fresh: bool,
) -> None:
    from sigmoe.lab._run import run_studies
    from sigmoe.lab._store import Store
    from sigmoe.lab._summary import slope_table
    from sigmoe.lab._versions import cpus

    if workers is not None:
        check("workers", workers, Interval("integer", 1), "Leave it out for one a processor.")
    # A batch system that needs the machine asks with SIGTERM; the folder stays as resumable.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        summary = run_studies(
            studies,
            out,
            workers=workers or cpus(),
            scheduler=scheduler,
            fresh=fresh,
            console=_console(stderr=True),
        )
    except KeyboardInterrupt:
        _say(f"interrupted; what is done is kept in {out}, and the same command continues")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    console = _console()
    console.print(slope_table(Store.existing(out)))
    console.print(f"report: {escape(str(summary.report))}", soft_wrap=True)
    if summary.failed:
        _say(f"{summary.failed} of {summary.done} tasks failed; the report shows them")
        raise typer.Exit(EXIT_FAILED_TASKS)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn errors that the user can mend into one line and an exit code."""
    try:
        yield
    except SigmoeError as error:
        _say(f"error: {error}")
        raise typer.Exit(EXIT_BAD_INPUT) from None
    except KeyboardInterrupt:
        _say("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _say(text: str) -> None:
    typer.echo(f"sigmoe: {' '.join(text.split())}", err=True)


def _console(stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = _WIDTH
    return console


def main() -> int:
    """Run the command line; return the exit code."""
    command = typer.main.get_command(app)
    try:
        return int(command.main(prog_name="sigmoe", standalone_mode=False) or 0)
    except Exception as error:
        # Typer brings its own copy of click or uses click itself, depending on its version; both
        # have usage errors that know their message and exit code.
        if not hasattr(error, "format_message"):
            raise
        _say(f"error: {error.format_message()} Try 'sigmoe --help'.")
        return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
