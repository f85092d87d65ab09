"""Negations, refusals, comparisons and plans, in the languages that models write.

Every rule here is cautious: a reply that may deny a choice is not read as naming it.
"""

from __future__ import annotations

import re

# A comma before "or" continues the denial of its clause: "not a, or b".
CLAUSE_END = re.compile(
    r"[.,:](?!\d)(?!\s*n?or\b)|[;!?\n。，；：！？]|(?<!\ball )(?<!thing )(?<!\bany )\bbut\b", re.IGNORECASE
)
_ENGLISH = (
    r"\b(?:no|not|non|never|neither|nor|none|nobody|cannot|hardly|lacks?|lacking|without|except|exclud(?:e|ed|es|ing)"
    r"|unlike|unlikely|incorrect|wrong|false|eliminat(?:e|ed|es|ing)|rather than|instead of|other than"
    r"|(?:anything|everything|all|any) but|out of the question|rul(?:e|ed|es|ing)(?: \w+){0,3} out|too|fails?|missing"
    r"|absent|discard(?:ed)?|reject(?:ed)?|dismiss(?:ed)?|distractors?|contradict\w*|inconsistent|incompatible|mismatch|implausible"
    r"|unsupported|untenable|insufficient\w*|weak(?:er|ened)?|outweighed|speculative|misinterpret\w*|misplaces?|absence"
    r"|collapses|conflict\w*|alternative|competing|superseded|doubtful|disputed|either|less|questionable|invalid|unrelated|irrelevant"
    r"|mistake|far from|opposite)\b|n['’]t\b|[❌✗✘✖🚫👎]"
)
# In other languages than English a denial may stand far from what it denies, or after it.
_FOREIGN = (
    r"\b(?:nicht|kein(?:e[nmrs]?)?|weder|nie(?:mals)?|ohne|außer|falsch|ausgeschlossen"  # German
    r"|pas|jamais|aucune?|ni|sans|sauf|faux|exclue?|plutôt que|presque|quasi"  # French
    r"|nunca|menos|casi|jamás|tampoco|ning[uú]na?|sin|excepto|salvo|descart\w+|falso|incorrect[ao]"  # Spanish
    r"|não|nem|sem|exceto|errad[ao]|né|senza|tranne|sbagliat[ao]|neanche"  # Portuguese, Italian
    r"|не|нет|почти|ни|нельзя|кроме|без|никогда|неверно|неправильно|исключ\w+|вряд ли|ні|немає"  # Russian, Ukrainian
    r"|nie|bez|geen|niet|nooit|zonder|behalve|ikke|inte|inget|utan|uden|ei|není|nikoli|nem|nincs|nu este|nu e"
    r"|değil\w*|yok|hiçbir|bukan|tidak|không|chẳng|δεν|όχι"
    r"|ليس|ليست|لا|لم|لن|غير|بدون|ماعدا|عدا|إلا|خطأ|نیست|نه|לא|אין|אינו|אינה)\b"
    r"|\bn['’](?=\w)|नहीं|बिना|गलत|ไม่|不|没|沒|无|無|未|並非|并非|除|错|錯|否"
    r"|非(?!常)|ない|なく|ません|違|ではなさ|아니|아닙|아님|않|없|못|틀|안 "
)
_NEGATION = re.compile(rf"{_ENGLISH}|{_FOREIGN}", re.IGNORECASE)
_ELSEWHERE = re.compile(_FOREIGN, re.IGNORECASE)
_DENIED_AFTER = re.compile(
    r"""^[^.!?？؟\n]{0,80}[?？؟]"""
    r"""|^["'”’*_`)\s]*(?:[,;]?\s*(?:but|though|yet)\s+(?:it|this|that)\s+)?"""
    r"(?:(?:is|was|are|were|seems|can be|could be|would be)\s+)?(?:\w+ly\s+)?"
    r"(?:(?:not|wrong|incorrect|false|unlikely|too|absent|missing|out)\b|ruled out|excluded|eliminated"
    r"|less (?:so|likely)|(?:is|does|did|do|was|are|were)n['’]t|(?:does|do|did|has|have|had|could|would|should) not\b"
    r"|can(?:no|['’])t|fails?\b|lacks?\b|never\b|[❌✗✘✖🚫👎])",
    re.IGNORECASE,
)
# A list of missing things continues over commas: "no bells, organ or hymns that would suggest a church".
_LACKING = re.compile(
    r"\b(?:no\s+\w|without|absence|neither|lacks?\b)(?!.*(?:[;:—]|\b(?:but|so)\b"
    r"|,\s*(?:thus|hence|therefore|which|and|it|this|that|i|making|suggesting)\b))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[\n。！？]")
_COMPARED = re.compile(
    r"\b(?:than|at least|at most|up to|less|similar to|compared (?:to|with)|instead of|versus|vs\.?"
    r"|minus|half)\s+(?:the\s+|an?\s+)?[\"'“‘*_(]*$",
    re.IGNORECASE,
)
_BOUND = re.compile(
    r"(?:\b(?:over|under|above|below|beyond|nearly|almost|between|exceeds?|before|after|half(?: of)?|twice|double)\s+"
    r"|[<>≤≥~+*/×±]\s*)$",
    re.IGNORECASE,
)
# These words after a mention extend it: "or more", "or something", a sum, a range.
_OPEN = re.compile(
    r"^\s*(?:(?:or|oder|ou|o|u|или|أو)\s|\+|plus\b|(?:and|y|et|und)\s+(?:more|up|over|above)\b)|^\s*[-–+*/×]\s*\d",
    re.IGNORECASE,
)
_FREE_OF = re.compile(r"^[-‐](?:free|less|like|ish)\b|^ish\b", re.IGNORECASE)
_NOT_ONLY = re.compile(
    r"\bnot (?:only|just|merely|solely)\b|\bnicht nur\b|\bpas seulement\b|\bno solo\b|不仅|不只", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"\b(?:can(?:not|['’]t| not)|could(?:n['’]t| not)|unable|impossible|insufficient|not (?:enough|sure|possible|clear)"
    r"|unclear|undetermined|indeterminate|don['’]t know|do not know|not (?:given|provided|stated|specified)"
    r"|need (?:more (?:information|context|detail|data|evidence)|the audio)|none of|neither|no (?:idea|answer)"
    r"|imposible|impossível|impossibile|unmöglich|unklar|unbekannt|inconnue?|desconocid[oa]|невозможно|неизвестно"
    r"|مستحيل)\b|无法|不确定|不知道|不清楚",
    re.IGNORECASE,
)
# "No, he cannot." answers; "No, I cannot tell." does not.
_HELPLESS = re.compile(
    r"\b(?:I|we)\s+(?:can(?:not|['’]t| not)|could(?:n['’]t| not)|am (?:unable|not)|do(?:n['’]t| not)|have no)\b"
    r"|\b(?:unable|impossible|hard|difficult|able) to (?:tell|say|determine|know|decide|answer)\b"
    r"|\bnot (?:sure|given|provided|stated|specified)\b"
    r"|\bplease\b|\blet (?:me|us)\b(?! know)|\blet['’]s\b|\bI(?: can|['’]ll| will) (?:help|assist)"
    r"|\bI(?:['’]d| would) be (?:happy|glad)"
    r"|\b(?:cannot|can['’]t) be (?:determined|answered|told)\b|\bno lo sé\b|\bno sé\b|\bnon lo so\b",
    re.IGNORECASE,
)
# A reply that plans its reasoning has not answered yet.
_PLANNING = re.compile(
    r"\b(?:evaluat|consider|examin|analy[sz]|assess|compar|interpret)\w*"
    r"|\bclaims?\b|\bwhile\b|\balthough\b|\bin contrast\b|\bif\b|\bwere (?:it|this)\b"
    r"|\blet me\b(?! know)|\blet['’]s\b|\blet us\b|\bthe user\b|\b(?:step|one) by (?:step|one)\b|\boptions?:|\bchoices:"
    r"|\b(?:the|these|following|possible|given|provided) (?:options|choices)\b|\bfirst (?:option|choice)\b"
    r"|\bI(?:['’]ll| will| should| need to| have to| must)(?: \w+)?"
    r" (?:consider|check|look|listen|think|analy[sz]e|go)\b",
    re.IGNORECASE,
)
_CUT = re.compile(
    r"(?:\b(?:a|an|the|of|and|or|because|with|is|has|in|to|but|since|that|which|as|are|was|were|for|from|by|if|when"
    r"|while|its|their|this|these|so)|[,:(–—-])\s*$",
    re.IGNORECASE,
)
# The words before a choice where prose presents it: "the instrument is a …", "we hear a …".
_PRESENTED = re.compile(
    r"(?:\b(?:is|are|was|were|it['’]s|that['’]s|this|(?:must|should|has to|likely) be"
    r"|(?:I|we|you|one)(?: can)?(?: clearly)? hear|heard"
    r"|sounds? like|points to|suggests?|indicates?|so|thus|hence|therefore|choose|pick|guess|i['’]d say"
    r"|ist|est|es|è|é|entend|oye|escucha|siente|höre[nt]?|hört|это|слыш\w+)[,:]?|听到|听见|听出|是|は|가|는|은|[هو]\s)"
    r"[ \"'“‘«「*_(]*(?:(?:clearly|definitely|probably|surely|certainly|most|likely|the|an?|really|just|only"
    r"|recorded|set|in|on|at|of"
    r"|located|coming|die|der|das|ein|eine|la|le|el|un|une|una|il)\b[ \"'“‘«「*_(]*){0,4}$"
    r"|\b(?:takes? place|happens?|moves?|goes|travels?|recorded|comes?|playing|plays)\s+(?:the|an?)?\s*$",
    re.IGNORECASE,
)
_OPENS = re.compile(
    r"^\W*(?:(?:definitely|probably|surely|certainly|maybe|perhaps|most|likely|clearly|the|an?)\b\W*)*$", re.IGNORECASE
)
_CONFIRMED = re.compile(
    r"""^["'”’»」)\]*_}]*\s*(?:$|[.,!<|}。！]|[-–—(]|\s?(?:is|fits|seems|it is|wins|sounds)"""
    r"""\s+(?:\w+ly\s+)?(?:it|the)?\s*"""
    r"(?:correct|right|best|most(?! \w+ly\b)|answer|only|clear|plausible(?=[.,])|$|[.!]))",
    re.IGNORECASE,
)
# "adult female voice" does not say "adult", "the second speaker's" not "the second speaker".
_ALONE = re.compile(
    r"""["'”’»」)\]*_}]*(?:\s*$|[<|.,;:!?)\n。，；！？]|\s*[^\x00-\u024f]|\s+(?:is|was|are|that|which|who|in|on|at|from|with|as"""
    r"|because|since|for|to|by|of|here|there|not?|playing|plays?|can|could|heard|it|fits|seems|best|judging|given|talk\w*|speak\w*"
    r"|and|or|but|so|than|rather|instead|due|times|zu|hier)(?![^\W_])|\s+[-–—(=])",
    re.IGNORECASE,
)
# A denial inside an explanation does not concern the answer.
_EXPLANATION = re.compile(
    r"[,;:.(–—-]?\s*\b(?:because|since|due to|given that|as (?:there|it|the)|weil|denn|porque|ya que|parce que|perché"
    r"|poiché|потому что|так как|لأن)\b|[,，;；。]?\s*(?:因为|由于|から|ので)"
    r"|\n\s*[*_#]*(?:explanation|reason(?:ing)?|rationale|justification)[*_]*:",
    re.IGNORECASE,
)
_UNDONE = re.compile(
    r"\bor\b|\bbut\b|\bhowever\b|\balthough\b|\bthough\b|\bso\b|\bthus\b|\btherefore\b|或|但|所以", re.IGNORECASE
)


def negates(text: str) -> bool:
    """Return whether any word of the text denies."""
    return bool(_NEGATION.search(text))


def negates_elsewhere(text: str) -> bool:
    """Return whether a word of another language than English denies."""
    return bool(_ELSEWHERE.search(text))


def refuses(text: str) -> bool:
    """Return whether the text says that it has no answer."""
    return bool(_REFUSAL.search(text))


def helpless(text: str) -> bool:
    """Return whether the model says that it cannot answer, or announces that it will begin."""
    return bool(_HELPLESS.search(text))


def unfinished(text: str) -> bool:
    """Return whether the text is a plan, or stops in the middle."""
    broken = text.lstrip("` \n").removeprefix("json").lstrip().startswith("{") and "}" not in text
    return broken or bool(_PLANNING.search(text) or _CUT.search(text))


def explained(text: str) -> tuple[str, str]:
    """Return the text before an explanation, and the explanation."""
    match = _EXPLANATION.search(text)
    if match is None:
        return text, ""
    return text[: match.start()], text[match.start() :]


def undone(explanation: str) -> bool:
    """Return whether an explanation may end with another conclusion than it began with."""
    return bool(_UNDONE.search(explanation))


def denied_part(segment: str, start: int, end: int, *, number: bool) -> tuple[int, int] | None:
    """Return the range in which the clause denies the mention at start:end; None where it does not."""
    before, after = segment[max(0, start - 200) : start], segment[end : end + 100]
    for form in (_COMPARED, *([_BOUND] if number else ())):
        if match := form.search(before):
            return start - len(before) + match.start(), end
    for part, form in ((CLAUSE_END.split(before)[-1], _NEGATION), (_SENTENCE_END.split(before)[-1], _LACKING)):
        if match := form.search(part):
            return start - len(part) + match.start(), end
    match = _DENIED_AFTER.match(after) or _FREE_OF.match(after)
    if match is None:
        return None
    return start, end + match.end()


def not_only(text: str) -> bool:
    """Return whether the text has a "not only", which adds instead of denying."""
    return bool(_NOT_ONLY.search(text))


def open_ended(after: str) -> bool:
    """Return whether the text after a mention extends it: "or more", "or something else", "+1"."""
    return bool(_OPEN.match(after))


def presented(before: str, after: str) -> bool:
    """Return whether prose presents the mention between these two texts as its answer, by a known phrase."""
    return bool(_PRESENTED.search(before) or (_OPENS.match(before) and _CONFIRMED.match(after)))


def stands_alone(after: str) -> bool:
    """Return whether the text after a mention ends its phrase, so that the mention is no part of a longer one."""
    return bool(_ALONE.match(after))
