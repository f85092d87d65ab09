"""Prompt templates: the shipped ones in `prompts/`, or the user's own files.

Nothing here takes an `Item`: a prompt is made from the question, the choices and the captions, so nothing that the
benchmark says about the clip or its answer can reach it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template as _Text

from cascade.errors import UnknownName, UserError
from cascade.io.digests import digest_bytes
from cascade.io.terminal import note

# A wheel holds the prompts inside the package; a checkout beside it.
_PACKAGE = Path(__file__).parents[1]
_FOLDER = _PACKAGE / "prompts" if (_PACKAGE / "prompts").is_dir() else _PACKAGE.parent / "prompts"
_PART = re.compile(r"^# (system|user)[ \t]*\n", re.MULTILINE)
_CAPTIONING = ("caption", "observe")  # the shipped prompts for listeners, without and with the question
_LISTENING = "question choices"  # the fields of a listener's prompt with the question
# By kind of prompt: the flag or parameter that names it, the name of the default, its fields, and its required fields.
_KINDS = {
    "ask": ("--prompt", "default", "evidence question choices", "question choices"),
    "digest": ("digest.prompt", "digest", "evidence question", "evidence question"),
    "judge": ("--judge-prompt", "judge", "question answer thinking criteria response", "criteria response"),
    "reader": ("--reader-prompt", "read", "choices mark reply", "choices reply"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A prompt's text with its `# system` and `# user` parts, by name and digest."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """The digest of the text."""
        return digest_bytes(self.text.encode())


def prompt_names() -> list[str]:
    """Return the names of the prompts that are shipped for asking."""
    others = {*_CAPTIONING, *(shipped for kind, (_, shipped, *_) in _KINDS.items() if kind != "ask")}
    return sorted({path.stem for path in _FOLDER.glob("*.md")} - others)


def shipped_name(text: str) -> str:
    """Return the name of the shipped prompt that has this text, or ""."""
    return next((path.stem for path in _FOLDER.glob("*.md") if path.read_text("utf-8") == text), "")


def captioning_prompt(prompt: str, *, asks: bool = False) -> str:
    """Return the text of a captioning prompt: a shipped one's, a file's, or `prompt` itself; "none" is no text.

    With `asks` it is one that shows a listener the question. Raises UserError where it lacks its field, or may not.
    """
    if prompt == "none" and not asks:
        return ""
    if prompt == "observe" and not asks:
        raise UserError("prompt=observe: it shows the question, and goes with question=true")
    is_file = (prompt.endswith(".md") or prompt.startswith(("/", "./", "../", "~"))) and "\n" not in prompt
    template = Template(name="", text=prompt)
    if is_file or prompt in _CAPTIONING:
        template = _read_template(prompt, is_file, f"prompt={prompt}")
        roles = [role for role, _ in parts(template)]
        if roles not in ([], ["user"], ["system", "user"]):
            problem = f"has the parts {roles}; it needs '# user', and may have '# system' before it"
            raise UserError(f"prompt={prompt}: {problem}")
    if asks:
        _check_fields(template, f"prompt={prompt}", _LISTENING, "question")
    return template.text


def find_template(name: str, kind: str = "ask") -> Template:
    """Return a prompt of a kind (`ask`, `digest`, `judge`, `reader`) by name or file; "" is the name of the default.

    Raises UnknownName, or UserError for a broken template.
    """
    option, usual, *_ = _KINDS[kind]
    names = prompt_names() if kind == "ask" else [usual]
    name = name or usual
    is_file = name.endswith(".md") or "/" in name
    if not is_file and name not in names:
        raise UnknownName("prompt", name, names, f"or give a file: {option} ./mine.md")
    template = _read_template(name, is_file, f"{option} {name}")
    check_template(template, f"{option} {name}", kind)
    return template


def check_sends_audio(template: Template, place: str) -> None:
    """Raise UserError for a template whose user part has no `$evidence`: the clip would not be sent."""
    text = dict(parts(template)).get("user", "")
    if not any("evidence" in (match["named"], match["braced"]) for match in _Text.pattern.finditer(text)):
        raise UserError(f"{place}: lacks $evidence in its '# user' part, where the clip of --captions audio stands")


def _read_template(name: str, is_file: bool, place: str) -> Template:
    path = Path(name).expanduser() if is_file else _FOLDER / f"{name}.md"
    try:
        template = Template(name=path.stem, text=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: cannot be read ({error})") from error
    if parts(template) and _PART.split(template.text)[0].strip():
        note(f"{place}: the text before its first '# system' or '# user' line is not sent")
    return template


def parts(template: Template) -> list[tuple[str, str]]:
    """Return (role, text) of each part of a template, in order."""
    pieces = _PART.split(template.text)[1:]
    return [(role, text.strip("\n")) for role, text in zip(pieces[::2], pieces[1::2], strict=True)]


def check_template(template: Template, place: str, kind: str = "ask") -> None:
    """Raise UserError for a template that cannot be used as a prompt of its kind."""
    if re.search("[\ud800-\udfff]", template.text):
        raise UserError(f"{place}: holds half a surrogate pair, which is no character")
    roles = [role for role, _ in parts(template)]
    if roles not in (["user"], ["system", "user"]):
        raise UserError(f"{place}: needs a line '# user', and may have '# system' before it; it has {roles}")
    _, _, fields, needed = _KINDS[kind]
    _check_fields(template, place, fields, needed)


def _check_fields(template: Template, place: str, fields: str, needed: str) -> None:
    """Raise UserError if a template uses a field that is not in `fields`, or lacks a `needed` field."""
    used: set[str] = set()
    for match in _Text.pattern.finditer(template.text):
        if match["invalid"] is not None:
            raise UserError(f"{place}: a lone $ must be written $$")
        used.add(match["named"] or match["braced"] or "")
    if unknown := sorted(used - {"", *fields.split()}):
        raise UserError(f"{place}: ${unknown[0]} is no field (there is: ${fields.replace(' ', ', $')})")
    if lacking := sorted({*needed.split()} - used):
        raise UserError(f"{place}: lacks ${lacking[0]}")


def fill(template: Template, fields: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """Return the template's messages with its fields filled in; a text without parts is the user's message."""
    pieces = parts(template) or [("user", template.text)]
    return tuple({"role": role, "content": _Text(text).substitute(fields)} for role, text in pieces)
