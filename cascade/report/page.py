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

from cascade.analysis.compare import overall
from cascade.errors import MissingExtra
from cascade.report import charts, items
from cascade.report.facts import Facts
from cascade.report.load import ReportData

_HERE = Path(__file__).parent / "templates"
_SCRIPTS = ("dom.js", "find.js", "clip.js", "item.js", "main.js")
_CHUNK = 32  # items unpacked together
# A `<`, `>` or `&` could end or open something in HTML; the two separators are line ends in old script engines.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def html(told: ReportData, facts: Facts, clips: Sequence[Mapping[str, Any]], places: Mapping[str, int]) -> str:
    """The whole page. Raises MissingExtra where jinja2 is not installed."""
    index = {
        "items": items.index(told, places),
        "facets": items.facets(told),
        "runs": [one.name for one in told.entries],
        "blind": next((at for at, one in enumerate(told.others) if one is told.control("blind")), None),
        "clips": [{key: value for key, value in clip.items() if key != "data"} for clip in clips],
        "chunk": _CHUNK,
    }
    style, script = _text("report.css"), "\n".join(_text(name) for name in _SCRIPTS)
    made = _template().render(
        facts=facts,
        told=told,
        policy=_policy(style, script),
        style=style,
        script=script,
        index=embedded(index),
        chunks=list(_chunks(items.details(told))),
        copies=[(place, clip["data"]) for place, clip in enumerate(clips) if "data" in clip],
        pictures=_pictures(told),
        adds=charts.adds(told),
        diagnosis=charts.diagnosis(told),
        against=_against(told),
    )
    # Half a surrogate pair is legal in JSON and has no UTF-8 form.
    return str(made).encode("utf-8", "replace").decode()


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _template() -> Any:
    try:
        import jinja2
    except ImportError:
        raise MissingExtra("cascade report", "jinja2", "pip install 'audio-cascade[report]'") from None
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": charts.percent,
        "signed": charts.signed,
        "interval": charts.interval,
        "signed_interval": charts.signed_interval,
        "p_value": charts.p_value,
        "fragment": lambda wanted: "#" + urlencode(wanted, errors="replace"),
    }
    return made.get_template("report.html.j2")


def _policy(style: str, script: str) -> str:
    """What the page may do: run this script, use this style, play clips. Nothing else is fetched, sent or framed."""
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
    """JSON that stands in a `<script>` block as it is, whatever it holds."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def _chunks(details: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The details of so many items together: JSON, deflated, base64."""
    rest = iter(details)
    while part := list(islice(rest, _CHUNK)):
        packed = json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        deflate = zlib.compressobj(9, wbits=-15)
        yield base64.b64encode(deflate.compress(packed) + deflate.flush()).decode()


def _pictures(told: ReportData) -> dict[str, charts.Picture]:
    found = {
        key: charts.by_tag(told, tag, key, title)
        for key, tag, title in (
            ("modality", "modality", "By modality"),
            ("layer", "category", "By layer"),
            ("sub", "sub-category", "By sub-category"),
        )
    }
    return {key: picture for key, picture in found.items() if picture}


def _against(told: ReportData) -> list[dict[str, Any]]:
    """Main beside each other run: over all items as one picture's rows, and by modality and layer."""
    rows = [(one.name, overall(found)) for one, found in zip(told.others, told.against, strict=True)]
    drawn = charts.differences("", rows)
    return [
        {
            "entry": one,
            "found": found,
            "p_holm": p_holm,
            "row": row,
            "ticks": drawn.ticks,
            "at": at,
            "by": [
                charts.differences(title, found.by[tag].items(), key)
                for key, tag, title in (("modality", "modality", "By modality"), ("layer", "category", "By layer"))
                if tag in found.by
            ],
        }
        for at, (one, found, p_holm, row) in enumerate(
            zip(told.others, told.against, told.p_holm, drawn.rows, strict=True)
        )
    ]
