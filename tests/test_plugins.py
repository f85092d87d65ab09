"""Names of engines and datasets, built in or installed."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from importlib import import_module
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from cascade import plugins
from cascade.cli import list as listing
from cascade.errors import UnknownName, UserError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An installed package with a good plug-in, a broken one, one that is no module and one that takes our name."""
    module = ModuleType("their_engine")
    for part in plugins._PARTS["captioners"]:
        setattr(module, part, {})
    monkeypatch.setitem(sys.modules, "their_engine", module)
    monkeypatch.setitem(sys.modules, "half_engine", half := ModuleType("half_engine"))
    half.VERSION = "1"  # type: ignore[attr-defined]
    points = [
        EntryPoint(name=name, value=value, group="cascade.captioners")
        for name, value in [
            ("theirs", "their_engine"),
            ("broken", "not_installed_at_all"),
            ("path", "os.path:join"),
            ("lacking", "their_engine:name"),
            ("half", "half_engine"),
            ("fake", "their_engine"),
        ]
    ]

    def entry_points(group: str) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return module


@pytest.mark.parametrize("group", ["captioners", "datasets"])
def test_every_built_in_name_is_a_module_with_its_parts(group: str) -> None:
    wanted = plugins._PARTS[group]
    built_in = {"captioners": plugins.CAPTIONERS, "datasets": plugins.DATASETS}[group]
    assert built_in and set(built_in) <= set(plugins.names(group))
    for name in built_in:
        module = plugins.find(group, name)
        assert all(hasattr(module, part) for part in wanted), name
        assert module.__doc__
        assert group == "datasets" or hasattr(module, "make") != hasattr(module, "lookup")


def test_an_installed_plug_in_is_found_and_cannot_take_a_built_in_name(installed: ModuleType) -> None:
    assert plugins.find("captioners", "theirs") is installed
    assert plugins.find("captioners", "fake") is import_module("cascade.captioners.fake")
    assert {"theirs", "fake", "broken"} <= set(plugins.names("captioners"))
    assert plugins.names("captioners").count("fake") == 1
    assert "theirs" not in plugins.names("datasets")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("broken", r"the plug-in 'broken' \(not_installed_at_all\) cannot be imported"),
        ("path", r"the plug-in 'path' \(os\.path:join\) is no module"),
        ("lacking", r"the plug-in 'lacking' \(their_engine:name\) cannot be imported: AttributeError: "),
        ("half", r"the plug-in 'half' \(half_engine\) lacks Params, NEEDS, SLOT$"),
    ],
)
def test_a_broken_plug_in_is_one_line(installed: ModuleType, name: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        plugins.find("captioners", name)


def test_a_broken_plug_in_is_listed_and_hides_no_other(
    installed: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugins, "names", lambda group: ["fake", "half"])
    listing.captioners("json")
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["fake"]["ready"] and not rows["half"]["ready"]
    assert "lacks Params" in rows["half"]["needs"] and rows["fake"].keys() == rows["half"].keys()


@pytest.mark.parametrize(
    ("group", "name", "complaint"),
    [
        ("captioners", "faster-wisper", r"unknown captioner 'faster-wisper' \(did you mean 'faster-whisper'\?\)"),
        ("captioners", "qqqq", r"unknown captioner 'qqqq' \(there is: .*fake.*\); list them with: cascade captioners"),
        ("datasets", "dmeo", r"unknown dataset 'dmeo' \(did you mean 'demo'\?\)"),
        ("datasets", "", r"unknown dataset ''"),
    ],
)
def test_a_miss_says_what_there_is(group: str, name: str, complaint: str) -> None:
    with pytest.raises(UnknownName, match=complaint):
        plugins.find(group, name)
