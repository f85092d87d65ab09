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
_CAPTIONING = ("caption",)  # the shipped prompts for models that hear
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
    others = {*_CAPTIONING, *(name for name, _, _ in _SECOND.values())}
    return sorted({path.stem for path in _FOLDER.glob("*.md")} - others)


def captioning_prompt(prompt: str) -> str:
    """Return the text of a captioning prompt: a shipped one's, a file's, or `prompt` itself; "none" is no text."""
    if prompt == "none":
        return ""
    is_file = (prompt.endswith(".md") or prompt.startswith(("/", "./", "../", "~"))) and "\n" not in prompt
    if not is_file and prompt not in _CAPTIONING:
        return prompt
    template = _read_template(prompt, is_file, f"prompt={prompt}")
    roles = [role for role, _ in parts(template)]
    if roles not in ([], ["user"], ["system", "user"]):
        raise UserError(f"prompt={prompt}: has the parts {roles}; it needs '# user', and may have '# system' before it")
    return template.text


def find_template(name: str) -> Template:
    """Return a shipped prompt by name, or a file's. Raises UnknownName, or UserError for a broken template."""
    return _named_template(name, "--prompt", prompt_names(), *_FIELDS)


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
    used: set[str] = set()
    for _, text in parts(template):
        for match in _Text.pattern.finditer(text):
            if match["invalid"] is not None:
                raise UserError(f"{place}: a lone $ must be written $$")
            used.add(match["named"] or match["braced"] or "")
    if unknown := sorted(used - {"", *fields}):
        raise UserError(f"{place}: ${unknown[0]} is no field (there is: ${', $'.join(fields)})")
    if lacking := sorted(needed - used):
        raise UserError(f"{place}: lacks ${lacking[0]}")


def fill(template: Template, fields: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """Return the template's messages with its fields filled in."""
    return tuple({"role": role, "content": _Text(text).substitute(fields)} for role, text in parts(template))
