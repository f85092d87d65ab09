"""Notes, instruments and tunes from numpy alone, for the clips of the demo set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sounds import RATE, Sound, at, clock, damped, decay, fade, hiss, mix, peak, repeat, silence, tone

Voice = Callable[[float, float], Sound]

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def pitch(note: str) -> float:
    """The frequency of a note such as "C4", "F#3" or "Bb5"; A4 is 440 Hz."""
    sign = note.count("#") - note[1:].count("b")
    return float(440 * 2 ** ((_SEMITONES[note[0]] + sign + 12 * (int(note[-1]) - 4) - 9) / 12))


def piano(frequency: float, seconds: float) -> Sound:
    """A struck string, let go at the end of its time."""
    times = clock(seconds)
    partials = [
        np.sin(2 * np.pi * number * frequency * times) * 0.5 ** (times * (1 + number)) / number**1.4
        for number in range(1, 9)
        if number * frequency < 0.45 * RATE
    ]
    return fade(sum(partials, silence(seconds)), 0.004, 0.05)


def music_box(frequency: float, seconds: float) -> Sound:
    """A thin comb of steel."""
    return fade(damped((frequency, 2 * frequency, 6.27 * frequency), seconds, 0.25), 0.002, 0.03)


def organ(frequency: float, seconds: float) -> Sound:
    """Pipes that sound as long as the key is held."""
    ranks = ((1, 1.0), (2, 0.6), (3, 0.25), (4, 0.3), (6, 0.1), (8, 0.1))
    pipes = [loud * tone(number * frequency, seconds) for number, loud in ranks if number * frequency < 0.45 * RATE]
    return fade(sum(pipes, silence(seconds)), 0.03, 0.06)


def trumpet(frequency: float, seconds: float) -> Sound:
    """A bright wind instrument."""
    numbers = [number for number in range(1, 12) if number * frequency < 0.45 * RATE]
    blown = sum((tone(number * frequency, seconds) / number**0.8 for number in numbers), silence(seconds))
    return fade(blown, 0.03, 0.05)


def tune(notes: str, beats_a_minute: float, voice: Voice) -> Sound:
    """A melody of notes such as "C4 D4:2 -:1 E4+G4:0.5": pitch, and beats where they are not one."""
    return np.concatenate([_played(note, 60 / beats_a_minute, voice) for note in notes.split()])


def _played(note: str, beat: float, voice: Voice) -> Sound:
    names, _, beats = note.partition(":")
    seconds = beat * float(beats or 1)
    if names == "-":
        return silence(seconds)
    return mix(*(voice(pitch(name), seconds) for name in names.split("+")))


def drum_beat(random: np.random.Generator, beats_a_minute: float, bars: int) -> Sound:
    """Four beats a bar: bass drum on one and three, snare drum on two and four, hi-hat in quavers."""
    beat = 60 / beats_a_minute
    bass = peak(damped((55, 82), 0.3, 0.05), 0.8)
    snare = peak(hiss(random, 0.2, 600, 7000) * decay(0.2, 0.03) + damped((190,), 0.2, 0.03), 0.5)
    hat = peak(hiss(random, 0.06, 5000, 8000) * decay(0.06, 0.01), 0.12)
    count = 4 * bars
    return mix(
        repeat(bass, [beat * index for index in range(0, count, 2)]),
        repeat(snare, [beat * index for index in range(1, count, 2)]),
        repeat(hat, [beat * index / 2 for index in range(2 * count)]),
    )


def sleigh_bells(random: np.random.Generator) -> Sound:
    """One shake of a bunch of small bells."""
    shake = [damped((random.uniform(3000, 6500),), 0.2, 0.035) for _ in range(9)]
    return mix(*(at(random.uniform(0, 0.03), one) for one in shake))


def running_down(sound: Sound, start: float, seconds: float) -> Sound:
    """The sound as of a record whose motor is switched off at `start` and stands still `seconds` later."""
    times = clock(start + seconds)
    slowing = np.maximum(times - start, 0)
    position = times - slowing**2 / (2 * seconds)
    slowed = np.interp(position, clock(len(sound) / RATE), sound)
    return slowed * np.clip((start + seconds - times) / (0.4 * seconds), 0, 1)
