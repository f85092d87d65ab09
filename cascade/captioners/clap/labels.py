"""Labels of an item in the place of a vocabulary: its choices, and the words of its question that may be heard."""

from __future__ import annotations

import re

from cascade.captioners.clap.tags import Group
from cascade.types import CaptionInput

_WORD = re.compile(r"[^\W\d_]{2,}")
# English function words, and the words in which audio questions are put: they name nothing that sounds.
_STOP = """
about according after again all also am among an and another any appear appears are as asked at audio audios away based
be because been before being best between both but by can choose clip clips come correct could describe described
determine did different do does doing done down during each end events every feel first following for from get given
had happen happened happening has have he hear heard her here him his how identify if in included infer into is it its
itself kind last least less like likely listen long main make many me mentioned might more most much must name next no
not number occur occurred of off often on one only option or order other our out over part people person piece place
please possible present question recording same scenario scene second seconds seem segment segments several she should
situation so some sound sounded sounds such take than that the their them then there these they thing things think this
those three time times to total two type types under up used using video was we were what when where which while who
whom whose why will with would you your
"""


def question_groups(given: CaptionInput) -> list[Group]:
    """Return the groups of phrases that a clip is scored against: the choices, then the question's content words.

    A single word is left out, because its share would be 1 whatever is heard.
    """
    words = dict.fromkeys(word for word in _WORD.findall(given.question.casefold()) if word not in _STOP.split())
    groups = [Group("the choices", "the sound of {}", given.choices)]
    if len(words) > 1:
        groups.append(Group("the question's words", "the sound of {}", tuple(words)))
    return groups
