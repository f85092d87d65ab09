"""The page: the first screen as HTML, the items as data that cannot be anything else, one style, one script.

Everything that is not ours (replies, captions, questions, names) goes through the template's escaping or into data
blocks, and from there into the page as text. The policy in the page's head lets no other script, style or address in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cascade.errors import MissingExtra, UnknownName, UserError
from cascade.io.files import write_text
from cascade.report import charts, items
from cascade.report.clips import clip_records
from cascade.report.facts import facts
from cascade.report.load import TAGS, ReportData, load_report
from cascade.report.markdown import markdown_report

FORMATS = ("html", "md")
_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("dom.js", "find.js", "clip.js", "item.js", "main.js")
_CHUNK = 32  # items unpacked together
# A `<`, `>` or `&` could end or open something in HTML; the two separators are line ends in old script engines.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def write_report(runs: Sequence[Path], out: Path | None, *, embed_audio: bool = False, form: str = "html") -> Path:
    """Write the report of these runs as HTML or Markdown, and return its path: `out`, else one in the first run.

    Raises UserError where it cannot be written.
    """
    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    if form == "md" and embed_audio:
        raise UserError("--embed-audio is for the page: Markdown has no clips; leave out --format md")
    page = out or runs[0] / f"report.{form}"
    if page.is_dir():
        raise UserError(f"--out {page} is a folder; name a file: --out {page / f'report.{form}'}")
    if out and not page.parent.is_dir():
        raise UserError(f"--out {page}: there is no folder {page.parent}; make it first: mkdir -p {page.parent}")
    text = html_report(runs, page, embed_audio=embed_audio) if form == "html" else markdown_report(runs)
    write_text(page, text)
    return page


def html_report(sources: Sequence[Path], page: Path, *, embed_audio: bool = False) -> str:
    """Return the report of these runs as an HTML page that will lie at `page`, from where it finds the clips.

    Raises RunError or UserError for what is no run, or cannot be paired, MissingExtra where a package is missing.
    """
    report = load_report(sources)
    run = report.main.run
    by_audio = clip_records(run.items, run.manifest.audio_root, page, embed=embed_audio)
    places = {name: place for place, name in enumerate(by_audio)}
    clips = list(by_audio.values())
    blind, audio = report.control("blind"), report.audio_alone
    index = {
        "items": items.index(report, places),
        "facets": items.facets(report),
        "runs": [entry.name for entry in report.runs],
        "blind": report.others.index(blind) if blind else None,
        "audio": report.others.index(audio) if audio else None,
        "clips": [{key: value for key, value in clip.items() if key != "data"} for clip in clips],
        "chunk": _CHUNK,
    }
    pictures = {}
    for key, (tag, name) in TAGS.items():
        if picture := charts.by_tag(report, tag, key, f"By {name}"):
            pictures[key] = picture
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    script = "\n".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    html = _template().render(
        facts=facts(report, sum("missing" in clip for clip in clips)),
        report=report,
        policy=_policy(style, script),
        style=style,
        script=script,
        index=embedded(index),
        chunks=list(_chunks(items.details(report, places))),
        copies=[(place, clip["data"]) for place, clip in enumerate(clips) if "data" in clip],
        pictures=pictures,
        adds=charts.by_modality({f"{slot}: all − without {slot}": groups for slot, groups in report.adds.items()}),
        hearing=charts.by_modality({name.replace("-", "−"): groups for name, groups in report.hearing.items()}),
        diagnosis=charts.diagnosis(report),
        comparisons=_comparisons(report),
    )
    # Half a surrogate pair is legal in JSON and has no UTF-8 form.
    return str(html).encode("utf-8", "replace").decode()


def _template() -> Any:
    try:
        import jinja2
    except ImportError:
        raise MissingExtra("cascade report", "jinja2", "pip install 'audio-cascade[report]'") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": charts.percent,
        "signed": charts.signed,
        "interval": charts.interval,
        "signed_interval": charts.signed_interval,
        "p_value": charts.p_value,
        "fragment": lambda wanted: "#" + urlencode(wanted, errors="replace"),
    }
    return environment.get_template("report.html.j2")


def _policy(style: str, script: str) -> str:
    """Return what the page may do: run this script, use this style, play clips; nothing else is fetched or sent."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "media-src 'self' file: data: blob:",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ]
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embedded(value: Any) -> str:
    """Return JSON that stands in a `<script>` block as it is, whatever it holds."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def _chunks(details: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Yield the details of a chunk of items together: JSON, deflated, base64."""
    rest = iter(details)
    while part := list(islice(rest, _CHUNK)):
        packed = json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        deflate = zlib.compressobj(9, wbits=-15)
        yield base64.b64encode(deflate.compress(packed) + deflate.flush()).decode()


def _comparisons(report: ReportData) -> list[dict[str, Any]]:
    """Return each other run − main: over all items as the rows of one picture, and by modality and layer."""
    names = [other.name for other in report.others]
    picture = charts.differences("", zip(names, (each.whole for each in report.comparisons), strict=True))
    rows = []
    for name, comparison, row in zip(names, report.comparisons, picture.rows, strict=True):
        pictures = []
        for key in ("modality", "layer"):
            tag, label = TAGS[key]
            if tag in comparison.by:
                title = f"By {label}: {name} − {report.main.name}"
                pictures.append(charts.differences(title, comparison.by[tag].items(), key))
        rows.append({"name": name, "comparison": comparison, "row": row, "ticks": picture.ticks, "by": pictures})
    return rows
