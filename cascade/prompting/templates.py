"""Prompt templates: the shipped ones in `prompts/`, or the user's own files.

Nothing here takes an `Item`: a prompt is made from the question, the choices and the captions, so nothing that the
benchmark says about the clip or its answer can reach it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template as _Text

from cascade.errors import UnknownName, UserError
from cascade.io.digests import digest_bytes

# A wheel holds the prompts inside the package; a checkout beside it.
_PACKAGE = Path(__file__).parents[1]
_FOLDER = _PACKAGE / "prompts" if (_PACKAGE / "prompts").is_dir() else _PACKAGE.parent / "prompts"
_PART = re.compile(r"^# (system|user)[ \t]*\n", re.MULTILINE)
# The fields of a prompt for asking, and those that it needs.
_FIELDS = ("evidence", "question", "choices"), {"question", "choices"}
_CAPTIONING = ("caption", "observe")  # the shipped prompts for models that hear, without and with the question
_LISTENING = ("question", "choices")  # the fields of a prompt that shows a listener the question
# The shipped prompt of each second model, which reads another's replies, its fields, and those that it needs.
_SECOND = {
    "judge": ("judge", ("question", "answer", "thinking", "criteria", "response"), {"criteria", "response"}),
    "reader": ("read", ("choices", "mark", "reply"), {"choices", "reply"}),
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
    others = {*_CAPTIONING, "digest", *(name for name, _, _ in _SECOND.values())}
    return sorted({path.stem for path in _FOLDER.glob("*.md")} - others)


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
        _check_fields(template, f"prompt={prompt}", _LISTENING, {"question"})
    return template.text


def find_template(name: str) -> Template:
    """Return a shipped prompt by name, or a file's. Raises UnknownName, or UserError for a broken template."""
    return _named_template(name, "--prompt", prompt_names(), *_FIELDS)


def check_sends_audio(template: Template, place: str) -> None:
    """Raise UserError for a template whose user part has no `$evidence`: the clip would not be sent."""
    text = dict(parts(template)).get("user", "")
    if not any("evidence" in (match["named"], match["braced"]) for match in _Text.pattern.finditer(text)):
        raise UserError(f"{place}: lacks $evidence in its '# user' part, where the clip of --captions audio stands")


def digest_template(name: str) -> Template:
    """Return the prompt of a digest: the shipped one, a file's, or its own text. Raises as `find_template` does."""
    if "\n" in name:
        return Template(name="", text=name)
    return _named_template(name, "digest.prompt", ["digest"], ("evidence", "question"), {"evidence", "question"})


def second_template(role: str, name: str = "") -> Template:
    """Return the prompt of a `judge` or `reader`: the shipped one, or a file's. Raises as `find_template` does."""
    shipped, fields, needed = _SECOND[role]
    return _named_template(name or shipped, f"--{role}-prompt", [shipped], fields, needed)


def check_stored(template: Template, place: object, role: str = "") -> None:
    """Raise UserError where a template of a run, or of its judge or reader, could not have been asked with."""
    fields, needed = _SECOND[role][1:] if role else _FIELDS
    _check_template(template, f"{place}: the template {template.name!r}", fields, needed)


def _read_template(name: str, is_file: bool, place: str) -> Template:
    path = Path(name).expanduser() if is_file else _FOLDER / f"{name}.md"
    try:
        return Template(name=path.stem, text=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: cannot be read ({error})") from error


def parts(template: Template) -> list[tuple[str, str]]:
    """Return (role, text) of each part of a template, in order."""
    pieces = _PART.split(template.text)[1:]
    return [(role, text.strip("\n")) for role, text in zip(pieces[::2], pieces[1::2], strict=True)]


def _named_template(name: str, option: str, names: Sequence[str], fields: Sequence[str], needed: set[str]) -> Template:
    """Return a template of the shipped `names`, or a file's, that uses `fields` only and all of the `needed` ones."""
    place = f"{option} {name}"
    is_file = name.endswith(".md") or "/" in name
    if not is_file and name not in names:
        raise UnknownName("prompt", name, names, f"or give a file: {option} ./mine.md")
    template = _read_template(name, is_file, place)
    _check_template(template, place, fields, needed)
    return template


def _check_template(template: Template, place: str, fields: Sequence[str], needed: set[str]) -> None:
    if re.search("[\ud800-\udfff]", template.text):
        raise UserError(f"{place}: holds half a surrogate pair, which is no character")
    roles = [role for role, _ in parts(template)]
    if roles not in (["user"], ["system", "user"]):
        raise UserError(f"{place}: needs a line '# user', and may have '# system' before it; it has {roles}")
    _check_fields(template, place, fields, needed)


def _check_fields(template: Template, place: str, fields: Sequence[str], needed: set[str]) -> None:
    """Raise UserError where a template uses another field than these, or lacks a `needed` one."""
    used: set[str] = set()
    for match in _Text.pattern.finditer(template.text):
        if match["invalid"] is not None:
            raise UserError(f"{place}: a lone $ must be written $$")
        used.add(match["named"] or match["braced"] or "")
    if unknown := sorted(used - {"", *fields}):
        raise UserError(f"{place}: ${unknown[0]} is no field (there is: ${', $'.join(fields)})")
    if lacking := sorted(needed - used):
        raise UserError(f"{place}: lacks ${lacking[0]}")


def fill(template: Template, fields: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """Return the template's messages with its fields filled in; a text without parts is the user's message."""
    pieces = parts(template) or [("user", template.text)]
    return tuple({"role": role, "content": _Text(text).substitute(fields)} for role, text in pieces)
