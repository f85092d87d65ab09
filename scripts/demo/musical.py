"""The clips of the demo set that hold music, a function each. All tunes are in the public domain."""

from __future__ import annotations

import numpy as np
from music import drum_beat, music_box, organ, piano, running_down, sleigh_bells, trumpet, tune
from sounds import (
    RATE,
    Sound,
    alarm_clock,
    applause,
    at,
    band,
    bell,
    crackle,
    duration,
    level,
    mix,
    peak,
    rain,
    repeat,
    then,
    thunder,
)
from voices import BEHIND, VOICE_LEVEL, say, talk

Random = np.random.Generator


# Music


def rising_scale(_: Random) -> Sound:
    """D major, upwards."""
    return peak(tune("D4 E4 F#4 G4 A4 B4 C#5 D5:3", 120, piano), 0.6)


def sad_chords(_: Random) -> Sound:
    """Five slow chords in A minor."""
    chords = "A2+A3+C4+E4 D3+A3+D4+F4 A2+A3+C4+E4 E2+G#3+B3+E4 A2+A3+C4+E4:2"
    return peak(tune(chords, 40, piano), 0.6)


def drums(random: Random) -> Sound:
    """A drum kit, 100 beats a minute."""
    return peak(drum_beat(random, 100, 5), 0.7)


def joy(_: Random) -> Sound:
    """The main theme of the last movement of Beethoven's ninth symphony."""
    first = "E4 E4 F4 G4 G4 F4 E4 D4 C4 C4 D4 E4 E4:1.5 D4:0.5 D4:2"
    second = "E4 E4 F4 G4 G4 F4 E4 D4 C4 C4 D4 E4 D4:1.5 C4:0.5 C4:2"
    return peak(tune(f"{first} {second}", 160, piano), 0.6)


def twice(_: Random) -> Sound:
    """A nursery tune, then the same at double speed."""
    notes = "C4 D4 E4 C4 C4 D4 E4 C4 E4 F4 G4:2 E4 F4 G4:2"
    return peak(then(tune(notes, 120, piano), tune(notes, 240, piano), pause=0.8), 0.6)


# Music and speech

_WALTZ = (
    "E5:2 G5 E5:2 C5 D5 E5 F5 D5:3 F5:2 A5 F5:2 D5 E5 D5 B4 C5:3 ",
    "C3 E4+G4 E4+G4 C3 E4+G4 E4+G4 G2 F4+G4 F4+G4 G2 F4+G4 F4+G4 "
    "D3 F4+A4 F4+A4 D3 F4+A4 F4+A4 G2 F4+B4 F4+B4 C3 E4+G4 E4+G4",
)


def radio(_: Random) -> Sound:
    """A voice on the radio over a waltz that goes on after it."""
    melody, chords = _WALTZ
    waltz = mix(tune(melody, 150, piano), 0.6 * tune(chords, 150, piano))
    spoken = at(2.2, talk(("awb", "The concert starts at eight o'clock."), ("awb", "The doors open one hour earlier.")))
    bed = level(then(waltz, waltz)[: round(13.2 * RATE)], -24)
    return mix(spoken, bed * _ducked(len(bed), 2.0, duration(spoken) + 0.2))


def _ducked(length: int, start: float, end: float) -> Sound:
    """A gain curve that lies low from `start` to `end`."""
    times = np.arange(length) / RATE
    return np.asarray(np.interp(times, (start - 0.3, start, end, end + 0.3), (1, 0.25, 0.25, 1)))


def lesson(_: Random) -> Sound:
    """A scale between two sentences."""
    scale = level(tune("A4 G4 F4 E4 D4 C4 B3 A3:2", 150, piano), VOICE_LEVEL)
    before, after = say("slt", "Listen to this scale."), say("slt", "Now it is your turn to play it.")
    return then(before, scale, after, pause=0.5)


def candles(_: Random) -> Sound:
    """A tune for a birthday, and what follows it."""
    song = (
        "C4:0.75 C4:0.25 D4 C4 F4 E4:2 C4:0.75 C4:0.25 D4 C4 G4 F4:2 "
        "C4:0.75 C4:0.25 C5 A4 F4 E4 D4 Bb4:0.75 Bb4:0.25 A4 F4 G4 F4:2"
    )
    spoken = talk(("rms", "Now blow out all the candles, grandma,"), ("rms", "and make a wish."))
    return then(level(tune(song, 160, piano), VOICE_LEVEL), spoken, pause=0.5)


# Sound and music


def morning(_: Random) -> Sound:
    """A music box, cut short by an alarm clock after six seconds."""
    notes = "C5 C5 G5 G5 A5 A5 G5:2 F5 F5 E5 E5 D5 D5 C5:2 G5 G5"
    box = tune(notes, 150, music_box)[: 6 * RATE]
    return mix(peak(box, 0.3), at(6, peak(alarm_clock(4), 0.6)))


def sleigh(random: Random) -> Sound:
    """A winter song with sleigh bells."""
    first = "E4 E4 E4:2 E4 E4 E4:2 E4 G4 C4:1.5 D4:0.5 E4:4"
    second = "F4 F4 F4:1.5 F4:0.5 F4 E4 E4 E4:0.5 E4:0.5 E4 D4 D4 E4 D4:2 G4:2"
    song = tune(f"{first} {second}", 200, piano)
    shakes = [0.3 * index for index in range(int(duration(song) / 0.3))]
    bells = mix(*(at(time, sleigh_bells(random)) for time in shakes))
    return mix(level(song, -20), level(bells, -30))


def old_record(random: Random) -> Sound:
    """A crackling record whose motor is switched off."""
    notes = "G4:1.5 A4:0.5 G4 F4 E4 F4 G4:2 D4 E4 F4:2 E4 F4 G4:2 G4:1.5 A4:0.5 G4 F4 E4 F4 G4:2 D4:2 G4:2 E4 C4:3"
    played = running_down(band(tune(notes, 160, trumpet), 200, 3000), 6.5, 2.5)
    return mix(level(band(played, 40, 3500), -20), peak(crackle(random, duration(played)), 0.25))


# All three


def foyer(random: Random) -> Sound:
    """A bell twice, a call to take seats, applause, a fanfare."""
    bells = repeat(peak(bell(800, 1.8), 0.35), (0.0, 1.3))
    spoken = talk(("slt", "Ladies and gentlemen, please take your seats."), ("slt", "The play begins in two minutes."))
    fanfare = level(tune("C4:0.5 E4:0.5 G4:0.5 C5:1.5 G4:0.5 C4+E4+G4+C5:2", 132, trumpet), -22)
    return then(bells, spoken, level(applause(random, 2.2), -26), fanfare, pause=0.3)


def empty_house(random: Random) -> Sound:
    """Thunder, rain, a dark organ and a frightened woman."""
    dark = level(tune("D2+D3+F3+A3:4 D2+D3+F3+Ab3:4 D2+C#3+E3+Bb3:4 D2+D3+F3+A3:2", 80, organ), BEHIND)
    spoken = talk(("slt", "Did you hear that?"), ("slt", "Nobody has lived in this old house for a hundred years."))
    weather = mix(level(rain(random, 10.5), BEHIND - 14), peak(thunder(random, 3.4), 0.6))
    return mix(dark, at(3.6, spoken), weather)


def bride(_: Random) -> Sound:
    """Bells, the march for a bride on an organ, and a guest."""
    march = (
        "C4+A3+F3 F4+C4+A3:0.75 F4+C4+A3:0.25 F4+C4+A3:2 C4+A3+F3 G4+E4+C4:0.75 E4+C4+G3:0.25 F4+C4+A3:2 "
        "C4 F4:0.75 Bb4:0.25 Bb4+D4 A4+C4:0.75 G4:0.25 F4+C4 E4+C4:0.75 F4:0.25 G4+E4:2"
    )
    bells = mix(*(at(time, bell(strike, 2.5)) for time, strike in ((0.0, 420), (0.8, 350), (1.6, 420), (2.4, 350))))
    music = level(tune(march, 108, organ), -22)
    spoken = talk(("rms", "Look, here she comes!"), ("rms", "What a beautiful white dress."))
    return mix(peak(bells, 0.4), at(3.6, music), at(3.9 + duration(music), spoken))


CLIPS = (
    *(rising_scale, sad_chords, drums, joy, twice),
    *(radio, lesson, candles),
    *(morning, sleigh, old_record),
    *(foyer, empty_house, bride),
)
