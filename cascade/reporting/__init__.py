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

from cascade.reporting import clips, loading, tables, telling
from cascade.reporting import page as made

FORMATS = ("html", "md")


def markdown(sources: Sequence[Path]) -> str:
    """The report of these runs as Markdown. Raises RunError or UserError for what is no run, or cannot be paired."""
    told = loading.load(sources)
    return tables.text(told, telling.facts(told))


def html(sources: Sequence[Path], page: Path, *, embed_audio: bool = False) -> str:
    """The report of these runs as an HTML page that will lie at `page`, from where it finds the clips.

    Raises RunError or UserError for what is no run, or cannot be paired, MissingExtra where a package is not here.
    """
    told = loading.load(sources)
    heard = clips.tell(told.main.run.items, told.main.run.manifest.audio_root, page, embed=embed_audio)
    places = {name: place for place, name in enumerate(heard)}
    return made.html(told, telling.facts(told, clips.unheard(heard)), list(heard.values()), places)
