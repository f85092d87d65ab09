"""What a model is shown: a template of `prompts/`, the evidence of what was heard, the question and its choices.

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

_HERE = Path(__file__).parents[1]
# Inside a wheel the prompts lie in the package; in a checkout, beside it.
_FOLDER = next(
    (folder for folder in (_HERE / "prompts", _HERE.parent / "prompts") if folder.is_dir()), _HERE / "prompts"
)
_PART = re.compile(r"^# (system|user)[ \t]*\n", re.MULTILINE)
_FIELDS = ("evidence", "question", "choices")
_JUDGE_FIELDS = ("question", "answer", "thinking", "criteria", "response")
_CAPTIONING = ("caption",)  # shipped prompts that are for models that hear, and hold no question
_JUDGING = ("judge",)  # shipped prompts for models that judge another's reasoning


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
    """The prompts that are shipped for asking."""
    return sorted(path.stem for path in _FOLDER.glob("*.md") if path.stem not in (*_CAPTIONING, *_JUDGING))


def captioning_prompt(given: str) -> str:
    """The text of a captioning prompt: of a shipped one by name, of a file, or as it was given; "none" is no text."""
    if given == "none":
        return ""
    own = (given.endswith(".md") or given.startswith(("/", "./", "../", "~"))) and "\n" not in given
    if not own and given not in _CAPTIONING:
        return given
    template = _read_template(given, own, f"prompt={given}")
    roles = [role for role, _ in parts(template)]
    if roles not in ([], ["user"], ["system", "user"]):
        raise UserError(f"prompt={given}: has the parts {roles}; it needs '# user', and may have '# system' before it")
    return template.text


def find_template(name: str) -> Template:
    """A shipped prompt by name, or a file. Raises UnknownName, or UserError for a template that is broken."""
    template = _named_template(name, prompt_names(), "--prompt")
    _check(template, f"--prompt {name}", _FIELDS, {"question", "choices"})
    return template


def judge_template(name: str = "judge") -> Template:
    """A judge's prompt, by name or a file: $question, $answer, $thinking, $criteria and $response are filled in.

    Raises UnknownName, or UserError for a template that is broken.
    """
    template = _named_template(name, _JUDGING, "--judge-prompt")
    _check(template, f"--judge-prompt {name}", _JUDGE_FIELDS, {"criteria", "response"})
    return template


def _named_template(name: str, known: Sequence[str], option: str) -> Template:
    own = name.endswith(".md") or "/" in name
    if not own and name not in known:
        raise UnknownName("prompt", name, known, f"or give a file: {option} ./mine.md")
    return _read_template(name, own, f"{option} {name}")


def _read_template(name: str, own: bool, place: str) -> Template:
    """The template of a shipped prompt, or of the user's own file."""
    path = Path(name).expanduser() if own else _FOLDER / f"{name}.md"
    try:
        return Template(name=path.stem, text=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: cannot be read ({error})") from error


def parts(template: Template) -> list[tuple[str, str]]:
    """(role, text) of each part of a template, in order."""
    found = _PART.split(template.text)[1:]
    return [(role, text.strip("\n")) for role, text in zip(found[::2], found[1::2], strict=True)]


def _check(template: Template, place: str, known: Sequence[str], needed: set[str]) -> None:
    roles = [role for role, _ in parts(template)]
    if roles not in (["user"], ["system", "user"]):
        raise UserError(f"{place}: needs a line '# user', and may have '# system' before it; it has {roles}")
    fields = {field for _, text in parts(template) for field in _fields(text, place)}
    if unknown := sorted(fields - set(known)):
        raise UserError(f"{place}: ${unknown[0]} is no field (there is: {', '.join(f'${one}' for one in known)})")
    if lacking := sorted(needed - fields):
        raise UserError(f"{place}: lacks ${lacking[0]}")


def _fields(text: str, place: str) -> set[str]:
    found = list(_Text.pattern.finditer(text))
    if any(match["invalid"] is not None for match in found):
        raise UserError(f"{place}: a lone $ must be written $$")
    return {match["named"] or match["braced"] for match in found} - {None}


def fill(template: Template, fields: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """The template's messages with its fields filled in."""
    return tuple({"role": role, "content": _Text(text).substitute(fields)} for role, text in parts(template))
