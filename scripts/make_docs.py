"""Write the generated parts of `docs/`: the tables of the datasets, and the help of every command.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`; everything else on a page is written by
hand. `python scripts/make_docs.py` writes the pages, `--check` names those that are not current and exits with 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from cascade import plugins
from cascade.cli.app import GROUPS, HELP, app
from cascade.datasets import demo, mmar

DOCS = Path(__file__).parent.parent / "docs"
WIDTH = 98  # columns of a help text
_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def dataset_table() -> str:
    """Return one row for each built-in dataset, from its `ABOUT`."""
    rows = ["| name | what it is | items | size | version | licence |", "|---|---|---|---|---|---|"]
    for name in sorted(plugins.DATASETS):
        about = plugins.find("datasets", name).ABOUT
        cells = (f"`{name}`", *(str(about[key]) for key in ("description", "items", "size", "version", "licence")))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def demo_table() -> str:
    """Return the number of the demo set's questions by modality."""
    items = demo.load().items
    counts = Counter(item.tags["modality"] for item in items)
    rows = ["| modality | questions |", "|---|---|"]
    rows += [f"| {modality} | {count} |" for modality, count in counts.most_common()]
    clips = len({item.audio for item in items})
    return "\n".join([*rows, "", f"{len(items)} questions about {clips} clips."])


def mmar_source() -> str:
    """Return where MMAR is downloaded from."""
    source = mmar.SOURCE
    return "\n".join(
        [
            f"* repository `{source.repository}` on the Hugging Face hub, revision `{source.revision}`",
            f"* files `{source.metadata}` and `{source.archive}` ({source.size})",
        ]
    )


def command_names() -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, groups included, in the order of `--help`."""
    root: Any = get_command(app)
    for name in HELP:
        yield (name,)
        for inner in getattr(root.get_command(None, name), "commands", {}):
            yield (name, inner)


def help_text(words: tuple[str, ...]) -> str:
    """Return what `cascade WORDS --help` prints."""
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="cascade", terminal_width=WIDTH)
    if result.exit_code:
        raise RuntimeError(f"cascade {' '.join(words)} --help: exit code {result.exit_code}")
    return result.stdout.rstrip()


def command_help() -> str:
    """Return a section for each command, under the headings of `GROUPS`."""
    parts = [f"```text\n{help_text(())}\n```"]
    names = list(command_names())
    for heading, group in GROUPS.items():
        parts.append(f"## {heading}")
        parts += [
            f"### cascade {' '.join(words)}\n\n```text\n{help_text(words)}\n```" for words in names if words[0] in group
        ]
    return "\n\n".join(parts)


PARTS: Mapping[str, Callable[[], str]] = {
    "command-help": command_help,
    "dataset-table": dataset_table,
    "demo-table": demo_table,
    "mmar-source": mmar_source,
}


def filled(text: str) -> str:
    """Return a page with its generated parts made anew. Raises KeyError for a part that has no maker."""
    return _PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n\n{match[3]}", text)


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or check them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is not current")
    check = parser.parse_args(arguments).check
    old = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        current = filled(text)
        if current != text:
            old.append(page.name)
            if not check:
                page.write_text(current, encoding="utf-8")
    if check and old:
        print(f"not current: {', '.join(old)}; run: python scripts/make_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
