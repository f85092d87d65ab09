"""A report of runs: one HTML file that opens anywhere, or Markdown. Made from run directories (and clips) alone.

loading.py   run directories → what is told, main run first
telling.py   what was run, in words
pictures.py  dots, intervals and bars as numbers
records.py   items as data
times.py     when something was heard, from captions' meta
clips.py     where clips are, their waveforms, small copies
page.py      all of it as HTML · templates/: markup, style, script
tables.py    the first screen as Markdown
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade.report import clips, facts, load
from cascade.report import page as made
from cascade.report.markdown import text

FORMATS = ("html", "md")


def markdown_report(sources: Sequence[Path]) -> str:
    """The report of these runs as Markdown. Raises RunError or UserError for what is no run, or cannot be paired."""
    told = load.load_report(sources)
    return text(told, facts.facts(told))


def html_report(sources: Sequence[Path], page: Path, *, embed_audio: bool = False) -> str:
    """The report of these runs as an HTML page that will lie at `page`, from where it finds the clips.

    Raises RunError or UserError for what is no run, or cannot be paired, MissingExtra where a package is not here.
    """
    told = load.load_report(sources)
    heard = clips.clip_records(told.main.run.items, told.main.run.manifest.audio_root, page, embed=embed_audio)
    places = {name: place for place, name in enumerate(heard)}
    return made.html(told, facts.facts(told, clips.unheard(heard)), list(heard.values()), places)
