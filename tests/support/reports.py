"""TODO"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.commands import ROOT, cascade, write

DEMO = ROOT / "cascade" / "datasets" / "demo_set" / "audio"


FLAGS = ("--llm", "fake", "--captions", "speech=fake,sound=fake(text=rain)")


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"\' onmouseover="alert(3)',
    "<!--<script>",
    "]]>&lt;&amp;\u2028\u2029\x00\x1b[31m",
    "\u202egnp.exe \u2066x",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(4)",
    "../a b/#?%00'\"<b>",
]


def hostile_rows() -> list[dict[str, Any]]:
    return [
        {
            "id": f"q{number}/{text}",
            "audio_path": f"{number} #%'\"&é.wav",
            "question": text,
            "choices": [text, f"{text} too", "neither"],
            "answer": text,
            "modality": text.strip() or "x",
            "category": text[::-1],
            "sub-category": text,
            "cue": [text],
        }
        for number, text in enumerate(HOSTILE)
    ]


def hostile_run() -> Path:
    """A run whose every field holds text that would rather be something else, in the current folder."""
    data = write(Path("evil.jsonl"), hostile_rows())
    flags = ["--captions", "speech=file(path=said.jsonl)", "--llm", "fake", "--out", "<img src=x onerror=alert(5)>"]
    said = [json.dumps({"id": row["id"], "text": row["question"]}) + "\n" for row in hostile_rows()]
    Path("said.jsonl").write_text("".join(said))
    result = cascade("run", "--dataset", data, *flags)
    assert result.exit_code == 0, result.output
    return Path(flags[-1])
