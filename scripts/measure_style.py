"""Measure how the package is written: the figures that `make test` holds, and those that only inform.

python scripts/measure_style.py            print every figure
python scripts/measure_style.py --places   print where each counted thing stands, too
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "cascade"
# Words that name no thing: a variable called so makes its reader look for what it holds.
VAGUE = frozenset(["one", "found", "told", "said", "heard"])
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Figures of a package; each list holds `file:line` places."""

    files: int
    lines: int
    functions: int
    vague: list[str]
    conditionals: list[str]
    nested: list[str]
    single_callers: list[str]

    @property
    def conditionals_per_1000(self) -> float:
        """Conditional expressions per 1 000 lines."""
        return 1000 * len(self.conditionals) / self.lines


def measure(package: Path = PACKAGE) -> Style:
    """Return the figures of every Python file in a package."""
    files = sorted(package.rglob("*.py"))
    style = Style(files=len(files), lines=0, functions=0, vague=[], conditionals=[], nested=[], single_callers=[])
    lines = functions = 0
    for file in files:
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
        lines += len(text.splitlines())
        name = file.relative_to(package.parent).as_posix()
        style.vague.extend(f"{name}:{line} {word}" for line, word in _vague_names(tree))
        for node in ast.walk(tree):
            functions += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if isinstance(node, ast.IfExp):
                style.conditionals.append(f"{name}:{node.lineno}")
            if isinstance(node, _COMPREHENSIONS) and _holds_comprehension(node):
                style.nested.append(f"{name}:{node.lineno}")
        style.single_callers.extend(f"{name}:{line} {function}" for line, function in _single_callers(tree))
    return Style(
        files=len(files),
        lines=lines,
        functions=functions,
        vague=style.vague,
        conditionals=style.conditionals,
        nested=style.nested,
        single_callers=style.single_callers,
    )


def _vague_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, word) of each use of a vague word as a name of any kind."""
    for node in ast.walk(tree):
        for attribute in ("id", "arg", "attr", "name"):
            word = getattr(node, attribute, None)
            if word in VAGUE and not isinstance(node, ast.alias):
                yield getattr(node, "lineno", 0), word


def _holds_comprehension(node: ast.AST) -> bool:
    return any(isinstance(inner, _COMPREHENSIONS) for inner in ast.walk(node) if inner is not node)


def _single_callers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of each private function of a module that is named once outside itself."""
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("_"):
            own = [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]
            if names.count(node.name) - own.count(node.name) == 1:
                yield node.lineno, node.name


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", action="store_true", help="print where each counted thing stands")
    parser.add_argument("package", nargs="?", type=Path, default=PACKAGE)
    given = parser.parse_args()
    style = measure(given.package)
    print(f"files                                  {style.files}")
    print(f"lines                                  {style.lines}")
    print(f"functions                              {style.functions}")
    print(f"vague names ({', '.join(sorted(VAGUE))})  {len(style.vague)}")
    print(f"conditional expressions per 1000 lines {style.conditionals_per_1000:.1f} ({len(style.conditionals)})")
    print(f"nested comprehensions                  {len(style.nested)}")
    print(f"private functions with one caller      {len(style.single_callers)}")
    if given.places:
        for title in ("vague", "conditionals", "nested", "single_callers"):
            print(f"\n{title}", *getattr(style, title), sep="\n  ")


if __name__ == "__main__":
    main()
