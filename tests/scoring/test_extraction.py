"""Replies as models write them, and the choice that each settles on, or none."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cascade.scoring.extraction.extract import extract

PETS = ("a dog", "a cat", "a bird", "a horse")
SOUNDS = ("rain", "bell", "siren", "wind")
YES_NO = ("Yes", "No")
KEYS = ("C major", "A minor", "C# minor", "F major")
COUNT = ("3", "4", "2", "1")
SECONDS = ("5 seconds", "15 seconds", "25 seconds", "35 seconds")
CHINESE = ("狗", "猫", "鸟", "马")
NESTED = ("Rain", "Rain and wind", "Wind", "Heavy rain")
Case = tuple[str, tuple[str, ...], str]

READ: list[Case] = [
    # the choice, dressed up
    ("a cat", PETS, "a cat"),
    ("A CAT.", PETS, "a cat"),
    ("**a cat**", PETS, "a cat"),
    ('"a cat"', PETS, "a cat"),
    ("“a cat”", PETS, "a cat"),
    ("`a cat`", PETS, "a cat"),
    ("_a cat_", PETS, "a cat"),
    ("  a  cat \n", PETS, "a cat"),
    ("It is a cat that we hear.", PETS, "a cat"),
    # a letter or a number
    ("A", SOUNDS, "rain"),
    ("Answer: A. rain, as the hiss is steady", SOUNDS, "rain"),
    ("A. The hiss is steady.", SOUNDS, "rain"),
    ("B", PETS, "a cat"),
    ("b", PETS, "a cat"),
    ("B.", PETS, "a cat"),
    ("(B)", PETS, "a cat"),
    ("[B]", PETS, "a cat"),
    ("**B**", PETS, "a cat"),
    ("B) a cat", PETS, "a cat"),
    ("B: a cat", PETS, "a cat"),
    ("B - a cat", PETS, "a cat"),
    ("Option B", PETS, "a cat"),
    # answer lines
    ("Answer: a cat", PETS, "a cat"),
    ("Answer: a cat.", PETS, "a cat"),
    ("answer:a cat", PETS, "a cat"),
    ("ANSWER = a cat", PETS, "a cat"),
    ("**Answer:** a cat", PETS, "a cat"),
    ("**Answer: a cat**", PETS, "a cat"),
    ("__Answer__: a cat", PETS, "a cat"),
    ("> Answer: a cat", PETS, "a cat"),
    ("Answer: <a cat>", PETS, "a cat"),
    ("Answer: “a cat”", PETS, "a cat"),
    ("Answer: (B) a cat", PETS, "a cat"),
    ("Answer: **B**", PETS, "a cat"),
    ("Answer: B. a cat, because it meows", PETS, "a cat"),
    ("Answer (one of the four): a cat", PETS, "a cat"),
    ("Final Answer:\n\na cat", PETS, "a cat"),
    ("Answer:\n```\na cat\n```", PETS, "a cat"),
    ("### Final answer\n\n**a cat**", PETS, "a cat"),
    ("The notes mention purring.\n\nMy answer: a cat\n", PETS, "a cat"),
    ("The answer is a cat.", PETS, "a cat"),
    ("The correct answer is **(B) a cat**.", PETS, "a cat"),
    ("The answer to the question is: a cat", PETS, "a cat"),
    ("I would choose a cat.", PETS, "a cat"),
    ("I'd go with B.", PETS, "a cat"),
    ("The best option is option B", PETS, "a cat"),
    ("<answer>B</answer>", PETS, "a cat"),
    ("<answer>\na cat\n</answer> Thanks.", PETS, "a cat"),
    ("So \\boxed{B}.", PETS, "a cat"),
    ("$\\boxed{\\text{a cat}}$", PETS, "a cat"),
    ("\\boxed{\\textbf{(B)}}", PETS, "a cat"),
    ('{"answer": "a cat"}', PETS, "a cat"),
    ('```json\n{"reasoning": "a dog would bark", "answer": "B"}\n```', PETS, "a cat"),
    ('{"answer": "B", "confidence": 0.9}', PETS, "a cat"),
    ('{"answer": "a cat",\n "answer_confidence": 4\n}', PETS, "a cat"),
    # the last word wins
    ("Answer: a dog\nWait, there is purring.\nAnswer: a cat", PETS, "a cat"),
    ("I first thought the answer is a dog.\nFinal answer: a cat", PETS, "a cat"),
    ("A. a dog\nB. a cat\nC. a bird\nD. a horse\n\nAnswer: B", PETS, "a cat"),
    ("Answer: B\n\nThe others (a dog, a bird, a horse) make other sounds.", PETS, "a cat"),
    ("Not a dog: no barking.\nNot a bird.\nAnswer: a cat", PETS, "a cat"),
    ("<think>a dog? Answer: a dog</think>\nAnswer: a cat", PETS, "a cat"),
    ("long thoughts, Answer: a dog</think>a cat", PETS, "a cat"),
    ("<thinking>a dog</thinking>B", PETS, "a cat"),
    ("<THINK>a dog</THINK>B", PETS, "a cat"),
    ("Answer: a cat\n<think>or is the answer: a dog", PETS, "a cat"),
    ("Answer: rain, because no bell-like tone is heard", ("rain", "hail"), "rain"),
    ("Answer: 1,000", ("Under 500", "A thousand"), "A thousand"),
    ("[ANS] a cat", PETS, "a cat"),
    ("[ANS] It purrs.\n\nA cat", PETS, "a cat"),
    ('So the answer is "a cat".If you have other questions, feel free to ask.', PETS, "a cat"),
    ("It could not be told at first. The animal is:\n\n**a cat**", PETS, "a cat"),
    ("\\boxed{35}", ("$30 \\mathrm{~cm}^{2}$", "$35 \\mathrm{~cm}^{2}$"), "$35 \\mathrm{~cm}^{2}$"),
    ("Answer: 24", ("19 sq. cm", "24 sq. cm"), "24 sq. cm"),
    # an element that ends the reply
    ("<Conclusion>\nB\n</Conclusion>", PETS, "a cat"),
    ("<Reasoning>It purrs.</Reasoning>\n<C> B </C>", PETS, "a cat"),
    ("<Sound> a cat </Sound>", PETS, "a cat"),
    ("Purring is near. Thus it is a cat.\n</answer>", PETS, "a cat"),
    # a sentence that concludes
    ("No bark is heard, only purring. Therefore, the animal is most likely a cat.", PETS, "a cat"),
    ("It purrs. Therefore, it is a cat. The other options (a dog, a bird) make other sounds.", PETS, "a cat"),
    ("Options (A) and (C) are louder. The purring aligns with option (B).", PETS, "a cat"),
    ("The horn sounds twice in the clip.", ("1", "2", "3", "4"), "2"),
    # a choice that ends a line
    ("The result is: a cat", PETS, "a cat"),
    ("The purring is near and soft. So the animal that fits it best is: **(B) a cat**", PETS, "a cat"),
    ("Purring of this kind belongs to **a cat**.", PETS, "a cat"),
    ("I would categorize the animal as:\n\n* A cat\n\nIt purrs softly, and it is near.", PETS, "a cat"),
    ("So I would classify it as **a cat**. Is there anything else?", PETS, "a cat"),
    ("The animal is a cat. Is there anything else I can help with?", PETS, "a cat"),
    # an echo of the question comes first
    ("Question: What purrs?\n\nOptions:\n(A) a dog\n(B) a cat\n\nPurring is heard.\n\nAnswer: B", PETS, "a cat"),
    ("Question: What purrs?\nAnswer: B\n\nQuestion: What barks?\nAnswer: A", PETS, "a cat"),
    # other languages
    ("答案：猫", CHINESE, "猫"),
    ("正确答案：猫", CHINESE, "猫"),
    # choices with traps
    ("Answer: 3", COUNT, "3"),
    ("Answer: 3", ("Two", "Three", "Four", "Five"), "Three"),
    ("Answer: 3", ("2 times", "3 times", "4 times", "5 times"), "3 times"),
    ("Answer: 4.", COUNT, "4"),
    ("The answer is 2", COUNT, "2"),
    ("Answer: B", COUNT, "4"),
    ("C# minor", KEYS, "C# minor"),
    ("Answer: A minor", KEYS, "A minor"),
    ("Answer: The key is C# minor", KEYS, "C# minor"),
    ("Answer: rain", NESTED, "Rain"),
    ("Answer: It is rain and wind", NESTED, "Rain and wind"),
    ("Answer: heavy rain", NESTED, "Heavy rain"),
    ("Answer: Really?", ("Really!", "Really?"), "Really?"),
    ("Answer: 10%", ("10", "10%"), "10%"),
    ("Answer: dog", ("dog ", "cat"), "dog "),
    ("Answer: B", ("", "thanks"), "thanks"),
    ("A", ("twin", "twin"), "twin"),
    ("Answer: yes", YES_NO, "Yes"),
    ("No, he does not.", YES_NO, "No"),
    ("Answer: No, it is not a duet", YES_NO, "No"),
    ("Answer: None of the above", ("a dog", "None of the above"), "None of the above"),
    ("Answer: D. Cannot be determined", ("x1", "x2", "x3", "Cannot be determined"), "Cannot be determined"),
    ("Answer: Not enough information", ("Happy", "Not enough information"), "Not enough information"),
    ("Answer: not happy", ("happy", "not happy"), "not happy"),
    ("Answer: STRASSE", ("Straße", "Weg"), "Straße"),
    ("Answer: cafe\u0301", ("caf\u00e9", "bar"), "caf\u00e9"),
]

UNREAD: list[Case] = [
    ("", PETS, ""),
    (" \n\t ", PETS, ""),
    ("Answer:", PETS, ""),
    ("Answer: a fish", PETS, ""),
    ("Answer: E", PETS, ""),
    ("Answer: 5", PETS, ""),
    ("Answer: 0", PETS, ""),
    ("Answer: <choice text>", PETS, ""),
    ("Hello! How can I help?", PETS, ""),
    # thoughts that were cut
    ("<think>The purring means a cat. Answer: a cat", PETS, ""),
    ("<think>a cat</think>", PETS, ""),
    ("<reasoning>B", PETS, ""),
    (" (e.g., The answer is a cat)\nOkay, so I need to find out which animal", PETS, ""),
    ("First, a cat is near. Then, a", PETS, ""),
    ("<C> </C>", PETS, ""),
    ("Words:\n1. near\n2. soft\n3.####", COUNT, ""),
    # two choices
    ("Answer: a cat or a dog", PETS, ""),
    ("Either **a dog** or **a cat**", PETS, ""),
    ("A dog is as likely as **a cat**", PETS, ""),
    ("Rain is heard: no.\nThe answer to wind is: no\nThe answer to bell is: yes", YES_NO, ""),
    ("Answer: A or B", SOUNDS, ""),
    ("Answer: A, B", SOUNDS, ""),
    ("Answer: (A) or (B)", SOUNDS, ""),
    ("Answer: A/B", SOUNDS, ""),
    ("Answer: B, or possibly C", PETS, ""),
    ('Answer: "a dog", "a cat"', PETS, ""),
    ('Answer: "a cat", or maybe "a dog"', PETS, ""),
    ('{"answer": ["A", "B"]}', SOUNDS, ""),
    ("\\boxed{A \\text{ or } B}", SOUNDS, ""),
    ("It could be a cat, it could be a dog.", PETS, ""),
    ("A. a dog\nB. a cat\nC. a bird\nD. a horse", PETS, ""),
    ("Answer: A, or possibly C", SOUNDS, ""),
    ("Answer: A. Or B?", SOUNDS, ""),
    ("A. rain\nB. bell\nC. siren\nD. wind\n", SOUNDS, ""),
    ("Options: A. rain B. bell", SOUNDS, ""),
    ("| a dog | no |\n| a cat | yes |", PETS, ""),
    ("Answer: yes and no", YES_NO, ""),
    ("One option is a dog, another option is a cat.", PETS, ""),
    ("The first option is a dog.\nThe second option is a cat.", PETS, ""),
    # negated
    ("Answer: not a cat", PETS, ""),
    ("Therefore, the animal is not a cat.", PETS, ""),
    ("What it cannot be is: a cat", PETS, ""),
    ("The answer is not a cat.", PETS, ""),
    ("The answer is not B.", PETS, ""),
    ("Answer: anything but a cat", PETS, ""),
    ("Answer: a cat is not right", PETS, ""),
    ("Answer: a cat (wrong)", PETS, ""),
    ("Answer: a cat? No.", PETS, ""),
    ("Answer: (B) is not correct", PETS, ""),
    ("(B) is wrong.", PETS, ""),
    ("Option B is incorrect.", PETS, ""),
    ("B: incorrect", PETS, ""),
    ("I don't think the answer is a cat.", PETS, ""),
    ("I doubt that the answer is a cat.", PETS, ""),
    ("I cannot say that the answer is B.", PETS, ""),
    ("Wrong answer: a cat", PETS, ""),
    ("The incorrect option is a cat.", PETS, ""),
    ("答案：不是猫", CHINESE, ""),
    ("Answer: non-vocal", ("vocal", "mixed"), ""),
    ("Nobody would say the answer is rain.", SOUNDS, ""),
    ("I would rule out the answer: rain", SOUNDS, ""),
    ("Answer: hardly rain", SOUNDS, ""),
    ("Is the answer rain?", SOUNDS, ""),
    ("[THINK]rain[/THINK]", SOUNDS, ""),
    ("Answer: -5", ("5", "6"), ""),
    ("选项B不正确", PETS, ""),
    ("B不对", PETS, ""),
    ("答案不是B", PETS, ""),
    ("不选B", PETS, ""),
    ("We can rule out:\n\na cat", PETS, ""),
    # set phrases, parts of other words and values
    ("Sure, I'd be happy to help.", ("Happy", "Sad"), ""),
    ("It sounds like K-pop.", ("Pop", "Rock"), ""),
    ("There are over 25 people.", ("25", "30"), ""),
    ("It costs four hundred.", ("4", "5"), ""),
    ('The answer is "p ≡ (q ∧ r)".', ("p ≡ q", "q ≡ r"), ""),
    ("Answer: 30", ("30-50", "60-80"), ""),
    ("Answer: 5", ("5 or more", "none"), ""),
    ("\\boxed{1}", ("5:12", "1:4", "5:21"), ""),
    ("The answer is:\n- Vocal: 0\n- Mixed: 1", ("vocal", "mixed"), ""),
    # hypotheses
    ("If the pitch were lower, the answer would be a cat.", PETS, ""),
    ("The answer would be a cat if it purred.", PETS, ""),
    ("If it purred, it would be a cat.", PETS, ""),
    # label against text
    ("Answer: A. a cat", PETS, ""),
    ("Answer: (A) a cat", PETS, ""),
    ("B, a dog", PETS, ""),
    ("Answer: 1. a cat", PETS, ""),
    ("\\boxed{A: a cat}", PETS, ""),
    # refusals
    ("Answer: I don't know", YES_NO, ""),
    ("Answer: no idea", YES_NO, ""),
    ("Answer: no answer", YES_NO, ""),
    ("I cannot tell from the notes whether it is a cat.", PETS, ""),
    ("Answer: impossible to say, perhaps a cat", PETS, ""),
    ("Answer: none of them", PETS, ""),
    ("Answer: N/A", PETS, ""),
    ("As an AI, I am unable to hear audio.", PETS, ""),
    ("答案：无法确定", CHINESE, ""),
    # letters and numbers that are no labels
    ("A sound is heard.", PETS, ""),
    ("1. The clip starts quietly.\n2. Then it gets louder.\n3. Let me weigh this.", SOUNDS, ""),
    ("A: no\nB: no\nC: yes\nD: no", SOUNDS, ""),
    ("A: too loud\nB: fits best\nC: too quiet", SOUNDS, ""),
    ("Answer: C, E, G", ("Major", "Minor", "Diminished", "Augmented"), ""),
    ("Answer: A.M.", ("Evening", "Morning"), ""),
    ("Answer: 1.5 seconds", ("1 second or less", "1 to 2 seconds", "more"), ""),
    ("Answer: 2:30", ("One minute", "Two minutes", "Three minutes"), ""),
    ("Answer: 2.5 seconds", SECONDS, ""),
    ("Answer: C", ("A minor", "B minor", "D minor", "C minor"), ""),
    ("Answer: really", ("Really!", "Really?"), ""),
    ("Answer: C♯", ("A", "B", "C", "D"), ""),
    ("Alternatives to weigh are a dog; a cat", PETS, ""),
]

# Nothing, or this choice: to name another one would be an invention.
NEVER_ANOTHER: list[Case] = [
    ("A dog (A) would bark. Only option (B) fits the purring best.", PETS, "a cat"),
    ("Answer: B, not A", PETS, "a cat"),
    ("Answer: a cat\nIncorrect answers: a dog, a bird", PETS, "a cat"),
    ("Answer: a cat\nWhy the answer is not a dog: it purrs", PETS, "a cat"),
    ("Answer: 3", ("One", "Two", "Three", "Four"), "Three"),
    ('{"answer": "a cat",\n "answer_confidence": 4\n}', PETS, "a cat"),
]


@pytest.mark.parametrize(("reply", "choices", "wanted"), [*READ, *UNREAD])
def test_a_reply_settles_on_one_choice_or_on_none(reply: str, choices: tuple[str, ...], wanted: str) -> None:
    assert extract(reply, choices).text == wanted


@pytest.mark.parametrize(("reply", "choices", "allowed"), NEVER_ANOTHER)
def test_a_hard_reply_is_unread_rather_than_read_wrongly(reply: str, choices: tuple[str, ...], allowed: str) -> None:
    assert extract(reply, choices).text in ("", allowed)


def test_there_are_enough_replies_of_both_kinds() -> None:
    assert len(READ) >= 80 and len(UNREAD) >= 70
    assert all(wanted in choices for _, choices, wanted in [*READ, *NEVER_ANOTHER])
    assert not any(wanted for _, _, wanted in UNREAD)


@pytest.mark.parametrize("choices", [PETS, YES_NO, KEYS, COUNT, SECONDS, CHINESE, NESTED, ("+", "-", "?!")])
def test_every_choice_said_in_any_usual_dress_is_itself(choices: tuple[str, ...]) -> None:
    for place, choice in enumerate(choices):
        letter = "ABCD"[place]
        dresses = ("{}", "Answer: {}", "**Answer:** {}", "<answer>{}</answer>", "\\boxed{{{}}}", '{{"answer": "{}"}}')
        for reply in (dress.format(choice) for dress in dresses):
            assert extract(reply, choices).text == choice, reply
        assert extract(f"Answer: ({letter}) {choice}", choices).text == choice
        assert extract(f"{letter}. {choice}", choices).text == choice


@pytest.mark.parametrize(
    ("reply", "how"),
    [
        ("", "empty"),
        ("a cat", "whole: text"),
        ("B", "whole: label"),
        ("(B) a cat", "whole: label and text"),
        ("The sound is made by a cat.", "sentence: mention"),
        ("Answer: a cat", "answer line: text"),
        ("<answer>B</answer>", "answer line: label"),
        ("<Conclusion>B</Conclusion>", "answer line: label"),
        ("\\boxed{a cat}", "answer line: text"),
        ("B\n\nThe purring is near.", "first line: label"),
        ("The purring is near.\n\n**B**", "last line: label"),
        ("The result is: a cat", "last line: text"),
        ("The purring makes option (B) the most probable.", "inner label: label"),
        ("It purrs. Therefore, it is a cat. All else is quiet.", "sentence: mention"),
        ("Answer: a fish", "answer line: no choice named"),
        ("Answer: a cat or a dog", "answer line: several choices"),
        ("Answer: A. a cat", "answer line: label against text"),
        ("Answer: (B) 9", "answer line: label with another value"),
        ("It is not a cat.", "sentence: denied or weighed"),
        ("Meow.", "no choice named"),
    ],
)
def test_it_says_by_which_rule(reply: str, how: str) -> None:
    assert extract(reply, PETS).how == how


def test_letters_follow_the_order_that_the_model_saw() -> None:
    assert extract("B", PETS).text == "a cat"
    assert extract("B", PETS[::-1]).text == "a bird"


@pytest.mark.parametrize(
    "unit",
    [
        "\n", " ", "\n \n", "-", "(", "[", "{", "not ", "n't ", "<think>", "</think>", "<think>x</think>", "<answer>",
        "Answer: ", "answer to ", "The answer is ", "the most answer ", "\\boxed{", "\\frac{", '"answer":', '"', "'a':",
        "A. ", "A. x\nB. y\n", "a dog ", "a dog is not ", "a'", ",", "*", "_", "1", "答案：", "question 1", "no, ",
        "\ufdfa", "\u0301\u0316", "if would ", "A. x\nB. ", "[ANS]",
        "is: ", "** ", "**a", "therefore ", "<a>", "</answer>", "I classify a as ", "e.g. ",
    ],
)  # fmt: skip
def test_time_grows_no_faster_than_a_hostile_reply(unit: str) -> None:
    """A hundred times the text takes at most 150 times the processor's time, and two replies less than two seconds."""
    seconds = {}
    for size in (10_000, 1_000_000):
        reply = (unit * (size // len(unit) + 1))[:size]
        started = time.process_time()
        extract(reply, PETS)
        extract(reply + " is: a cat", PETS)
        seconds[size] = time.process_time() - started
    assert seconds[1_000_000] < min(max(150 * seconds[10_000], 0.1), 2)


MINIMAL = [
    json.loads(line) for line in (Path(__file__).parent / "replies_minimal.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("row", MINIMAL, ids=[f"{place} {row['kind']}" for place, row in enumerate(MINIMAL)])
def test_each_kind_of_real_reply_is_read(row: dict[str, Any]) -> None:
    """Re-creations of replies that were misread or left unread, but for those whose choices are letters.

    There "Answer: A" is the choice "A": the prompts of this package show no labels.
    """
    if row["kind"] != "wrong: choices are letters and the reply uses the letter as a label":
        assert extract(row["reply"], row["choices"]).text == row["expected"]
