"""The command line: its commands, each imported when it is used, and how their mistakes come out.

Results go to stdout, notes and progress to stderr. Exit codes: 0 all asked, 1 a bug (traceback), 2 the user's mistake
(one line), 3 finished with failures, 4 stopped at the budget (one line), 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer

from cascade.errors import BudgetSpent, CascadeError
from cascade.io.terminal import note
from cascade.version import __version__

# The first line of each command's help, which `cascade --help` prints under headings without importing the command.
GROUPS = {
    "Making runs": {
        "run": "Caption the clips, ask the model, score the answers.",
        "caption": "Caption the clips, and print the captions.",
        "ask": "Ask one question about one clip.",
        "ablate": "Ablate the sources: each alone, each left out, controls.",
        "reproduce": "Run the published rows, and print ours beside theirs.",
        "merge": "Merge the runs of shards into one run.",
    },
    "A second model on finished runs": {
        "judge": "Judge the reasoning of right answers, by MMAR-Rubrics.",
        "read": "Ask a second model for the choice of each reply that the rules leave unread.",
    },
    "Reading runs": {
        "score": "Score runs and official prediction files.",
        "compare": "Compare two runs item by item; more than two as a matrix.",
        "leaderboard": "Show many runs as one table.",
        "report": "Make one page of runs: scores, differences, every item.",
        "export": "Write the official prediction file of a run.",
        "verify": "Derive a run's digests, keys and prompts again.",
    },
    "What there is": {
        "doctor": "Say what a run lacks here, and the command for each.",
        "datasets": "List the datasets.",
        "captioners": "List the captioners, and what each needs to work here.",
        "prompts": "List the prompts, or show what one sends.",
        "cache": "Count, check and share what is in the cache.",
    },
}
HELP = {name: text for commands in GROUPS.values() for name, text in commands.items()}
# The modules of the commands that share one; the others' are named as the command is.
_MODULES = dict.fromkeys(("datasets", "captioners", "prompts"), "list")
_MODULES |= dict.fromkeys(("judge", "read"), "second_model")

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY}
_NO_FILE = {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
_Misused: Any = typer.BadParameter.__mro__[1]  # click's UsageError, which typer carries a copy of


class _Command(typer.core.TyperCommand):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                usual = f"{param.param_type_name.capitalize()}s"  # Options or Arguments
                sections.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(record)
        for heading in sorted(sections, key="Options".__eq__):  # what only this command has stands last
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


class _Commands(typer.core.TyperGroup):
    """Commands whose mistakes come out as one line and an exit code, however they are called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: dict[str, Any] = dict.fromkeys(HELP)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command after importing its module, so that `--help` imports none; None for an unknown name."""
        if cmd_name in HELP and self.commands[cmd_name] is None:
            command = getattr(import_module(f"cascade.cli.{_MODULES.get(cmd_name, cmd_name)}"), cmd_name)
            if not isinstance(command, typer.Typer):
                alone = typer.Typer(rich_markup_mode=None, add_completion=False)
                alone.command(cmd_name, cls=_Command)(command)
                command = alone
            self.commands[cmd_name] = typer.main.get_command(command)
            self.commands[cmd_name].name = cmd_name
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                # The words of all groups begin in one column.
                formatter.write_dl([(name.ljust(max(map(len, HELP))), text) for name, text in commands.items()])

    def invoke(self, ctx: Any) -> Any:  # typer carries its own copy of click
        try:
            return super().invoke(ctx)
        except BudgetSpent as reached:
            _stop(str(reached), 4)
        except CascadeError as error:
            _stop(str(error), 2)
        except _Misused as error:
            if "NoArgs" in type(error).__name__:  # `cascade cache` alone: its help is what is wanted
                raise
            words = error.ctx.command_path.split()[1:] if error.ctx else []
            _stop(f"{error.format_message().rstrip('.')}; see: {' '.join(['cascade', *words])} --help", 2)
        except KeyboardInterrupt:
            _stop("interrupted; the same command goes on from here", 130)
        except BrokenPipeError:
            # The reader of our output has left: so do we, without a second error when Python flushes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except OSError as error:
            if error.errno not in _NO_ROOM | _NO_ACCESS | _NO_FILE:
                raise
            where = f"{error.filename}: " if error.filename else ""
            room = "; make room: the same command goes on from here" if error.errno in _NO_ROOM else ""
            _stop(f"{where}{error.strerror}{room}", 2)


def _stop(message: str, code: int) -> None:
    note(f"cascade: {message}")
    raise typer.Exit(code)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cascade {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Audio question answering without an audio model: captions of a clip, a text model that answers, a score."""


def main() -> None:
    """Run the `cascade` command."""
    # The next file that is opened would take the number of a stream that the caller closed, and get what is printed.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It takes the lowest free number, which is this one.
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    gc.set_threshold(100_000)  # Records are many and hold no cycles: frequent collection costs time and frees nothing.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="cascade")
    except SystemExit as exit:
        # While a worker thread runs there is no cleanup: native code that returns into a finalising interpreter aborts
        # the process.
        if any(thread.name.startswith("captioner-") for thread in threading.enumerate()):
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(exit.code if isinstance(exit.code, int) else 1)
        raise
