"""`vaekit doctor`: what is wrong with this machine, and what to do.

A terminal gets marks in colour and lines that end at words; a pipe gets one line a finding, with its advice on the next.

Needs: typer, rich, vaekit.runtime.doctor.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import typer

from .console import console, print_json
from .options import BundleArgument, JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vaekit.runtime.doctor import Finding

COLOURS: Final = {"ok": "green", "warn": "yellow", "error": "bold red"}


def doctor(bundle: BundleArgument = None, as_json: JsonOption = False) -> None:
    """Check versions, ONNX Runtime, its providers, the cores and a bundle; exit with 1 if there is an error."""
    from vaekit.runtime.doctor import diagnose

    findings = diagnose(bundle)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        output = console()
        if output.is_terminal:
            output.print(_table(findings))
        else:
            for finding in findings:
                typer.echo(_line(finding))
        output.print(_summary(findings))
    if any(finding.status == "error" for finding in findings):
        raise typer.Exit(1)


def _table(findings: list[Finding]) -> RenderableType:
    """Three columns: mark, what, and what was found with the advice below it."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(max_width=22, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    for finding in findings:
        mark = Text(finding.status, style=COLOURS[finding.status])
        table.add_row(mark, Text(finding.what), Text(finding.found))
        if finding.advice:
            table.add_row("", "", Text(f"-> {finding.advice}", style="bold"))
    return table


def _line(finding: Finding) -> str:
    line = f"{finding.status:<5}  {finding.what}: {finding.found}"
    return f"{line}\n       -> {finding.advice}" if finding.advice else line


def _summary(findings: list[Finding]) -> str:
    counts = {status: sum(finding.status == status for finding in findings) for status in COLOURS}
    return f"{_count(counts['error'], 'error')}, {_count(counts['warn'], 'warning')}, {counts['ok']} ok"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
