"""`--answer-as choice` as a person gives it: the run's identity, its labels, and the commands that take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import cascade as api
from cascade.pipeline import second_model
from cascade.pipeline.request import Request
from cascade.runs.call_log import CallLog, Inquiry
from tests.support.commands import FAKE, cascade, log_of, only_run
from tests.support.stub_server import Reply, Stub

CHOICE = ["--answer-as", "choice"]


def run(dataset: Path, out: str, *args: str) -> Any:
    return cascade("run", "--dataset", dataset, *FAKE, "--out", out, *args)


def llm_of(folder: str) -> dict[str, Any]:
    return dict(json.loads((Path(folder) / "run.json").read_text())["spec"]["llm"])


def test_a_forced_choice_is_another_run(mini: Path) -> None:
    assert run(mini, "text").exit_code == run(mini, "same", "--answer-as", "text").exit_code == 0
    done = run(mini, "choice", *CHOICE)
    assert done.exit_code == 0
    assert "prompt default, forced choice\n" in done.stdout and "coverage 100.00 %" in done.stdout
    assert llm_of("text") == llm_of("same") == {"model": "fake", "params": {"seed": 0}, "samples": 1}
    assert llm_of("choice") == {**llm_of("text"), "answer_as": "choice"}
    for line in log_of(Path("choice")):
        reply = json.loads(line["result"]["text"])
        assert list(reply) == ["reasoning", "answer"] and reply["answer"] in ("rain", "a bell", "a siren", "wind")
        assert line["params"] == {"seed": 0}
    assert cascade("verify", "choice").exit_code == cascade("verify", "text").exit_code == 0
    assert run(mini, "choice", *CHOICE).exit_code == 0
    for folder, args, words in (
        ("text", CHOICE, "'text' there, 'choice' here"),
        ("choice", [], "'choice' there, 'text'"),
    ):
        refused = run(mini, folder, *args)
        assert refused.exit_code == 2 and f"llm.answer_as is {words}" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_a_plan_for_a_model_that_takes_no_schema_is_refused(mini: Path) -> None:
    done = cascade("run", "--dataset", mini, "--captions", "none", "--llm", "gpt-4", "--dry-run", *CHOICE)
    assert done.exit_code == 2 and done.stdout == ""
    assert "--llm gpt-4: the model takes no JSON schema; give --answer-as text" in done.stderr


def test_a_forced_choice_has_its_own_directory_and_labels(mini: Path) -> None:
    for args in ([], CHOICE):
        assert cascade("run", "--dataset", mini, *FAKE, *args).exit_code == 0
    forced, free = sorted(Path("runs").iterdir(), key=lambda path: "answer_as" not in llm_of(str(path)))
    board = cascade("leaderboard", "runs", "--format", "csv").stdout
    assert "default," in board and "forced choice" in board
    compared = cascade("compare", forced, free)
    assert compared.stderr == f"choices were forced in {forced}; the replies of the others are free\n"
    assert cascade("compare", free, free).stderr == ""
    assert cascade("report", forced, free, "--format", "md", "--out", "both.md").exit_code == 0
    page = Path("both.md").read_text()
    assert "fake, forced choice" in page and "default, forced choice" in page


def test_a_value_that_is_neither_is_refused(mini: Path) -> None:
    refused = run(mini, "x", "--answer-as", "letter")
    assert refused.exit_code == 2 and refused.stderr.strip().endswith("give --answer-as text or choice")
    assert not Path("x").exists()


def test_the_choices_are_those_of_the_item_in_the_order_shown(mini: Path) -> None:
    def last(request: dict[str, Any], number: int) -> Reply:
        shown = request["response_format"]["json_schema"]["schema"]["properties"]["answer"]["enum"]
        assert "\n".join(shown) in request["messages"][-1]["content"]
        return Reply(text=json.dumps({"reasoning": "r", "answer": shown[-1]}))

    with Stub(last) as stub:
        args = ["--llm", "gpt-x", "--api-base", stub.url, "--shuffle-choices", "--samples", "2", *CHOICE]
        assert run(mini, "shuffled", *args).exit_code == 0
    sent = [line["result"]["sent"]["response_format"]["json_schema"]["schema"] for line in log_of(Path("shuffled"))]
    assert len({tuple(schema["properties"]["answer"]["enum"]) for schema in sent}) > 4
    assert cascade("verify", "shuffled").exit_code == 0


def test_an_endpoint_that_refuses_or_ignores_it(mini: Path) -> None:
    with Stub(lambda request, number: Reply(status=400, text="unknown field")) as stub:
        refused = run(mini, "refused", "--llm", "gpt-x", "--api-base", stub.url, *CHOICE)
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1].endswith(
        "unknown field; if the endpoint supports no JSON schema, give --answer-as text"
    )
    with Stub() as stub:
        ignored = run(mini, "ignored", "--llm", "gpt-x", "--api-base", stub.url, *CHOICE)
    assert ignored.exit_code == 0 and "coverage 100.00 %" in ignored.stdout
    assert "8 of 8 replies are not the JSON of --answer-as choice; they are read as text" in ignored.stderr


def test_every_command_that_asks_takes_it(mini: Path) -> None:
    Path("spec.yaml").write_text("answer-as: choice\n")
    assert run(mini, "spec", "--spec", "spec.yaml").exit_code == 0
    assert llm_of("spec")["answer_as"] == "choice"
    family = cascade("ablate", "--dataset", mini, *FAKE, "--variants", "blind", "--out", "family", *CHOICE)
    assert family.exit_code == 0 and llm_of("family/blind")["answer_as"] == "choice"
    asked = ["ask", "0.wav", "What?", "--choice", "rain", "--choice", "hail", "--llm", "fake", "--captions", "none"]
    assert '"answer": "' in cascade(*asked, *CHOICE).stdout
    rows: list[str | Path] = [
        "reproduce",
        "o3",
        "--models",
        "fake",
        "--dataset",
        mini,
        "--captions",
        "speech=fake",
        *CHOICE,
    ]
    assert "choices are forced here, " in cascade(*rows).stderr
    assert llm_of(str(only_run()))["answer_as"] == "choice"


def test_the_python_interface_takes_it(mini: Path) -> None:
    done = api.run("fake", mini, captions="speech=fake", answer_as="choice")
    assert done.spec.llm.answer_as == "choice"
    assert api.score(done).prompt == "default, forced choice"
    answer = api.ask("0.wav", "What?", ["rain", "hail"], llm="fake", captions="none", answer_as="choice")
    assert json.loads(answer.reply)["answer"] == answer.choice.text in ("rain", "hail")


@pytest.mark.parametrize(("role", "prompt"), [("judge", "judge"), ("reader", "read")])
def test_a_second_model_is_never_forced(role: str, prompt: str, tmp_path: Path) -> None:
    log = CallLog(tmp_path, role)
    request = Request(llm="fake", prompt=prompt, answer_as="choice")
    second_model.ask_or_plan(request, log, Inquiry(lambda template: [], lambda question, reply: reply.text))
    assert log.read()[0].llm.answer_as is msgspec.UNSET
