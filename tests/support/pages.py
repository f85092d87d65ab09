"""A report read back: its elements, and the data that its script gets."""

from __future__ import annotations

import base64
import json
import zlib
from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """`tags` are (name, attributes) of every element, `data` is each script's content by id or class, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data: list[tuple[str, str]] = []
        self.text = ""
        self._open = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag in ("script", "style"):
            named = dict(attrs)
            self.data.append((named.get("id") or named.get("class") or tag, ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style"):
            name, before = self.data[-1]
            self.data[-1] = (name, before + data)
        else:
            self.text += data

    def block(self, name: str) -> str:
        """The one script or style of this name."""
        (found,) = (content for known, content in self.data if known == name)
        return found

    @property
    def index(self) -> dict[str, Any]:
        """What the script searches."""
        found: dict[str, Any] = json.loads(self.block("index"))
        return found

    @property
    def details(self) -> list[dict[str, Any]]:
        """What the script shows of each item."""
        packed = [content for name, content in self.data if name == "chunk"]
        return [one for part in packed for one in json.loads(zlib.decompress(base64.b64decode(part), wbits=-15))]
