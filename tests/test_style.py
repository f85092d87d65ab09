"""The package stays readable: no vague names, few conditional expressions, hardly a comprehension in another."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.commands import ROOT


@pytest.fixture(scope="module")
def measures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_style", ROOT / "scripts" / "measure_style.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure_style"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_package_keeps_its_bounds(measures: ModuleType) -> None:
    style = measures.measure()
    assert style.lines > 10_000
    assert len(style.vague) < 60, style.vague
    assert style.conditionals_per_1000 < 20
    assert len(style.nested) < 20, style.nested


def test_each_thing_is_counted(measures: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text(
        "def _once(found):\n"
        "    return [[one for one in row] for row in found.heard]\n"
        "def _twice(a):\n"
        "    return 1 if a else 2\n"
        "print(_once([]), _twice(1), _twice(2))\n"
    )
    style = measures.measure(tmp_path)
    assert (style.files, style.lines, style.functions) == (1, 5, 2)
    assert sorted(place.split()[-1] for place in style.vague) == ["found", "found", "heard", "one", "one"]
    assert (len(style.conditionals), len(style.nested)) == (1, 1)
    assert [place.split()[-1] for place in style.single_callers] == ["_once"]
