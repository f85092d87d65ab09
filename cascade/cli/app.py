"""The commands. Each imports its work inside the function, so that `--help` costs no more than typer does.

Results go to stdout, notes and progress to stderr. Exit codes: 0 all asked, 1 a bug (traceback), 2 the user's mistake
(one line), 3 finished with failures, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from cascade.cli import (
    ablate,
    ask,
    cache,
    caption,
    compare,
    doctor,
    export,
    judge,
    leaderboard,
    list,
    merge,
    report,
    reproduce,
    run,
    score,
    verify,
)
from cascade.errors import CascadeError
from cascade.io.terminal import note
from cascade.version import __version__

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EBUSY,
}


_Misused: Any = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this typer has it from


class _Commands(typer.core.TyperGroup):
    """Commands whose mistakes come out as one line and an exit code, however they are called."""

    def invoke(self, ctx: Any) -> Any:  # typer carries its own copy of click
        try:
            return super().invoke(ctx)
        except CascadeError as error:
            _stop(str(error), 2)
        except _Misused as error:
            if "NoArgs" in type(error).__name__:  # `cascade cache` alone: its help is what is wanted
                raise
            _stop(_told(error), 2)
        except KeyboardInterrupt:
            _stop("interrupted; the same command goes on from here", 130)
        except BrokenPipeError:
            # The reader of our output has left: so do we, without a second error when Python flushes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except OSError as error:
            if error.errno not in _NO_ROOM | _NO_ACCESS:
                raise
            where = f"{error.filename}: " if error.filename else ""
            room = "; make room: the same command goes on from here" if error.errno in _NO_ROOM else ""
            _stop(f"{where}{error.strerror}{room}", 2)


def _told(error: Any) -> str:
    """A flag or argument that cannot be, and whose help says what can."""
    command = " ".join(["cascade", *error.ctx.command_path.split()[1:]] if error.ctx else ["cascade"])
    return f"{error.format_message().rstrip('.')}; see: {command} --help"


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


for _command in (
    run.run,
    caption.caption,
    ask.ask,
    merge.merge,
    ablate.ablate,
    reproduce.reproduce,
    judge.judge,
    score.score,
    compare.compare,
    export.export,
    verify.verify,
    report.report,
    leaderboard.leaderboard,
    list.datasets,
    list.captioners,
    doctor.doctor,
):
    app.command()(_command)
app.add_typer(list.prompts, name="prompts")
app.add_typer(cache.cache, name="cache")


def main() -> None:
    """The `cascade` command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as left:
        _leave(left.code)
        raise


def _leave(code: Any) -> None:
    """Leave at once where a lane is still at work: native code that comes back into a Python that ends aborts it."""
    from threading import enumerate as running

    if any(thread.name.startswith("captioner-") for thread in running()):
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
