"""The clips of the demo set, a function each; those without music stand here."""

from __future__ import annotations

from collections.abc import Callable

import musical
import numpy as np
from music import music_box, tune
from sounds import (
    Sound,
    at,
    band,
    beep,
    bell,
    duration,
    footstep,
    knock,
    level,
    mix,
    passing_siren,
    peak,
    railway_hall,
    rain,
    repeat,
    silence,
    stereo,
    telephone,
    then,
    thunder,
    tick,
)
from voices import BEHIND, say, talk

Random = np.random.Generator


# Speech


def apples(_: Random) -> Sound:
    """A man buys four bags of apples at three dollars each."""
    return talk(
        ("rms", "Good morning. How much are the apples?"),
        ("slt", "They are three dollars a bag."),
        ("rms", "Then I will take four bags, please."),
        ("slt", "Of course. Here you are."),
    )


def goodbye(_: Random) -> Sound:
    """A son takes leave of his mother."""
    return talk(
        ("awb", "Mother, my train leaves at nine. I have to go."),
        ("slt", "Did you pack your warm coat, dear?"),
        ("awb", "Yes, I did. Please say goodbye to dad for me."),
    )


def late_bus(_: Random) -> Sound:
    """A woman, a Scotsman and another man talk about a bus."""
    return talk(
        ("slt", "The bus is late again today."),
        ("awb", "It is late on every rainy day."),
        ("rms", "Then we should walk to the office."),
        ("slt", "That is a good idea."),
    )


def saying(_: Random) -> Sound:
    """A proverb that stops half way."""
    return talk(
        ("rms", "Wake up! It is six o'clock already."),
        ("rms", "You know what people say. The early bird"),
    )


def commentary(_: Random) -> Sound:
    """The last seconds of a basketball match."""
    return talk(
        ("awb", "There are ten seconds left. He dribbles past two players."),
        ("awb", "He jumps and shoots. The ball goes through the hoop!"),
        ("awb", "Three points, and the game is over."),
    )


def three_takes(_: Random) -> Sound:
    """A sentence in full, then as over a telephone line, then overloaded."""
    spoken = level(say("slt", "Please close the window before you leave."), -26)
    line = level(band(spoken, 500, 2400), -26)
    overloaded = np.clip(20 * spoken, -0.3, 0.3)
    return then(spoken, line, overloaded, pause=0.8)


# Sound


def six_beeps(_: Random) -> Sound:
    """Six beeps, not quite regular."""
    return at(0.3, mix(silence(5.2), repeat(peak(beep(1000, 0.2), 0.4), (0.0, 0.7, 1.4, 2.5, 3.2, 4.3))))


def siren(_: Random) -> Sound:
    """A siren passes from left to right."""
    return peak(passing_siren(9, speed=22, distance=9), 0.7)


def three_events(random: Random) -> Sound:
    """A telephone, then knocking, then a bell."""
    knocks = repeat(peak(knock(random), 0.6), (0.0, 0.3, 0.6))
    return then(peak(telephone(), 0.4), knocks, peak(bell(520, 3.5), 0.5), pause=0.8)


def storm(random: Random) -> Sound:
    """Rain, and thunder twice."""
    claps = mix(at(1.5, peak(thunder(random, 4), 0.7)), at(6.0, peak(thunder(random, 4.5), 0.5)))
    return mix(level(rain(random, 10.5), -34), claps)


def hurrying(random: Random) -> Sound:
    """Footsteps that get faster and faster."""
    times = np.cumsum(np.geomspace(0.75, 0.24, 17)) - 0.6
    return mix(*(at(float(time), peak(footstep(random), random.uniform(0.4, 0.55))) for time in times))


def lost_channel(random: Random) -> Sound:
    """A clock on both channels; after five seconds the left one has nothing."""
    ticks = [peak(tick(random), 0.45 if index % 2 else 0.35) for index in range(20)]
    left, right = (
        mix(silence(10), *(at(0.5 * index + 0.1, loud * ticks[index]) for index in range(count)))
        for count, loud in ((10, 0.9), (20, 1.0))
    )
    return stereo(left, right)


# Sound and speech


def umbrella(random: Random) -> Sound:
    """A woman in the rain."""
    spoken = talk(("slt", "I am going to get wet. I forgot my umbrella."), ("slt", "What a terrible day."))
    return mix(at(1.5, spoken), level(rain(random, duration(spoken) + 2.5), BEHIND - 7))


def appointment(_: Random) -> Sound:
    """A telephone rings three times; a man moves an appointment from Monday to Thursday."""
    rings = repeat(peak(telephone(), 0.25), (0.0, 1.7, 3.4))
    spoken = talk(
        ("slt", "Hello, this is Doctor Brown's office."),
        ("rms", "I cannot come on Monday. Is Thursday possible?"),
        ("slt", "Yes. See you on Thursday."),
    )
    return then(rings, spoken, pause=0.4)


def platform(random: Random) -> Sound:
    """An announcement at a station."""
    chime = peak(tune("G4 E4 C4:2", 100, music_box), 0.35)
    spoken = talk(
        ("slt", "Attention please. The train to London will not leave from platform two."),
        ("slt", "It will leave from platform six."),
    )
    announced = then(silence(0.3), chime, spoken, pause=0.2)
    return mix(announced, level(railway_hall(random, duration(announced) + 1), BEHIND))


CLIPS: dict[str, Callable[[Random], Sound]] = {
    clip.__name__: clip
    for clip in (
        *(apples, goodbye, late_bus, saying, commentary, three_takes),
        *(six_beeps, siren, three_events, storm, hurrying, lost_channel),
        *(umbrella, appointment, platform),
        *musical.CLIPS,
    )
}
