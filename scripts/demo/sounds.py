"""Sounds from numpy alone, for the clips of the demo set.

A sound is a row of floats at 16 kHz, about -1 to 1. What is random takes its generator as an argument.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float64]

RATE = 16_000  # Hz
SPEED_OF_SOUND = 343.0  # m/s


# Building blocks


def duration(sound: Sound) -> float:
    """How long a sound is."""
    return len(sound) / RATE


def clock(seconds: float) -> Sound:
    """The time of each sample, in seconds."""
    return np.arange(round(seconds * RATE)) / RATE


def silence(seconds: float) -> Sound:
    """Nothing to hear."""
    return np.zeros(round(seconds * RATE))


def tone(frequency: float, seconds: float) -> Sound:
    """A sine."""
    return np.asarray(np.sin(2 * np.pi * frequency * clock(seconds)))


def hiss(random: np.random.Generator, seconds: float, low: float, high: float) -> Sound:
    """Noise between two frequencies, with the loudness of a sine."""
    return level(band(random.standard_normal(round(seconds * RATE)), low, high), -3)


def band(sound: Sound, low: float, high: float) -> Sound:
    """What lies between two frequencies; the edges are half an octave soft."""
    spectrum = np.fft.rfft(sound)
    pitch = np.log2(np.maximum(np.fft.rfftfreq(len(sound), 1 / RATE), 1.0))
    rising = np.clip(2 * (pitch - np.log2(low)) + 1, 0, 1)
    falling = np.clip(2 * (np.log2(high) - pitch) + 1, 0, 1)
    return np.asarray(np.fft.irfft(spectrum * rising * falling, len(sound)))


def fade(sound: Sound, start: float = 0.01, end: float = 0.01) -> Sound:
    """The sound with its first and last moments faded."""
    times = clock(duration(sound))
    gain: Sound = np.clip(times / start, 0, 1) * np.clip((times[-1] - times) / end, 0, 1)
    return sound * gain


def decay(seconds: float, halving: float) -> Sound:
    """A curve that begins at 1, after a soft start of 3 ms, and halves every `halving` seconds."""
    times = clock(seconds)
    return np.asarray(np.minimum(times / 0.003, 1) * 0.5 ** (times / halving))


def level(sound: Sound, decibels: float) -> Sound:
    """The sound at a root mean square of so many dB, its pauses not counted."""
    audible = sound[np.abs(sound) > 0.01 * np.abs(sound).max()]
    return np.asarray(sound * 10 ** (decibels / 20) / np.sqrt(np.mean(audible**2)))


def peak(sound: Sound, highest: float) -> Sound:
    """The sound scaled to a highest sample."""
    return np.asarray(sound * highest / np.abs(sound).max())


def then(*sounds: Sound, pause: float = 0.0) -> Sound:
    """One sound after the other, with pauses between."""
    parts = [part for sound in sounds for part in (silence(pause), sound)]
    return np.concatenate(parts[1:])


def at(seconds: float, sound: Sound) -> Sound:
    """The sound, later."""
    return np.concatenate([silence(seconds), sound])


def mix(*sounds: Sound) -> Sound:
    """All sounds at once, as long as the longest."""
    mixed = np.zeros(max(len(sound) for sound in sounds))
    for sound in sounds:
        mixed[: len(sound)] += sound
    return mixed


def repeat(sound: Sound, times: Sequence[float]) -> Sound:
    """The sound begun at each of these times."""
    return mix(*(at(time, sound) for time in times))


def stereo(left: Sound, right: Sound) -> Sound:
    """Two channels, shape (samples, 2)."""
    return np.stack([left, right], axis=1)


# Sounds


def damped(frequencies: Sequence[float], seconds: float, halving: float) -> Sound:
    """Something struck: sines that die away together, the higher ones softer."""
    parts = [tone(frequency, seconds) / (1 + index) for index, frequency in enumerate(frequencies)]
    return np.asarray(sum(parts, silence(seconds)) * decay(seconds, halving))


def beep(frequency: float, seconds: float) -> Sound:
    """An electronic beep."""
    return fade(tone(frequency, seconds) + 0.2 * tone(3 * frequency, seconds))


def bell(strike: float, seconds: float) -> Sound:
    """A cast bell: partials that are no multiples of each other, the high ones gone first."""
    ratios = (0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 2.66, 3.01, 4.17)
    parts = [tone(strike * ratio, seconds) * decay(seconds, 0.9 / ratio) / (1 + 0.3 * ratio) for ratio in ratios]
    return fade(sum(parts, silence(seconds)), 0.002, 0.1)


def knock(random: np.random.Generator) -> Sound:
    """Knuckles on a wooden door."""
    return damped((170, 290, 450, 730), 0.25, 0.02) + 0.3 * hiss(random, 0.25, 300, 3000) * decay(0.25, 0.006)


def footstep(random: np.random.Generator) -> Sound:
    """A heel and then a toe on a hard floor."""
    heel = hiss(random, 0.2, 80, 900) * decay(0.2, 0.012) + damped((95,), 0.2, 0.02)
    toe = 0.4 * hiss(random, 0.15, 500, 3500) * decay(0.15, 0.008)
    return mix(heel, at(0.07, toe))


def tick(random: np.random.Generator) -> Sound:
    """A clock's escapement."""
    return damped((2300, 3400, 5200), 0.06, 0.006) + 0.4 * hiss(random, 0.06, 1500, 7000) * decay(0.06, 0.004)


def telephone() -> Sound:
    """One ring of a telephone with two gongs and a clapper."""
    low, high = (damped((gong, gong * 2.76, gong * 5.4), 0.3, 0.05) for gong in (1080.0, 1290.0))
    strikes = (at(0.04 * index, high if index % 2 else low) for index in range(28))
    return fade(mix(*strikes), 0.005, 0.1)


def alarm_clock(bursts: int) -> Sound:
    """A digital alarm clock: bursts of four short beeps."""
    burst = repeat(beep(2050, 0.09), (0.0, 0.14, 0.28, 0.42))
    return repeat(burst, [0.9 * index for index in range(bursts)])


def rain(random: np.random.Generator, seconds: float) -> Sound:
    """Steady rain: a rush of noise and single drops close by."""
    rush = hiss(random, seconds, 300, 7500)
    drops = [_drop(random, seconds) for _ in range(round(50 * seconds))]
    return fade(rush + 0.8 * mix(silence(seconds), *drops), 0.2, 0.2)


def _drop(random: np.random.Generator, seconds: float) -> Sound:
    when, frequency, loudness = random.uniform(0, seconds - 0.1), random.uniform(1200, 4200), random.uniform(0.3, 2.0)
    return at(when, loudness * damped((frequency, 1.6 * frequency), 0.05, 0.006))


def thunder(random: np.random.Generator, seconds: float) -> Sound:
    """A crack, and a rumble that comes and goes as it rolls away."""
    crack = hiss(random, seconds, 60, 2500) * decay(seconds, 0.12)
    swell = 1 + 0.7 * np.sin(2 * np.pi * 1.3 * clock(seconds) ** 0.9)
    rumble = hiss(random, seconds, 35, 220) * swell * decay(seconds, seconds / 5)
    return fade(crack + 1.4 * rumble, 0.005, 0.4)


def crackle(random: np.random.Generator, seconds: float) -> Sound:
    """The dust on an old record."""
    impulses = random.standard_normal(round(seconds * RATE)) * (random.random(round(seconds * RATE)) < 0.0012)
    return band(impulses, 400, 7000)


def passing_siren(seconds: float, speed: float, distance: float) -> Sound:
    """A two-tone siren that drives past from left to right, nearest in the middle: two channels.

    Its pitch and its loudness at a moment are those that left it when it was where it then was.
    """
    now = clock(seconds)
    along = speed * (now - seconds / 2)
    away = np.hypot(along, distance)
    phase = np.interp(now - away / SPEED_OF_SOUND, *_siren_phase(seconds))
    heard = sum((np.sin(harmonic * phase) / harmonic**1.5 for harmonic in (1, 2, 3, 4)), silence(seconds))
    right = (1 + along / away) / 2
    loud = fade(heard * distance / away, 0.3, 0.3)
    return stereo(loud * np.sqrt(1.02 - right), loud * np.sqrt(0.02 + right))


def _siren_phase(seconds: float) -> tuple[Sound, Sound]:
    """Times at the siren, beginning before those of the listener, and its phase at each."""
    times = np.arange(-RATE, round(seconds * RATE)) / RATE
    pitch = np.where(times % 1.2 < 0.6, 450.0, 600.0)
    return times, 2 * np.pi * np.cumsum(pitch) / RATE


def applause(random: np.random.Generator, seconds: float) -> Sound:
    """Many hands, each at its own pace."""
    clap = hiss(random, 0.06, 700, 4500) * decay(0.06, 0.007)
    claps = [random.uniform(0.2, 1) * at(random.uniform(0, seconds - 0.1), clap) for _ in range(round(70 * seconds))]
    return fade(mix(silence(seconds), *claps), 0.3, 0.6)


def railway_hall(random: np.random.Generator, seconds: float) -> Sound:
    """A train that stands under a roof: a low drone, and steam that is let off now and then."""
    drone = hiss(random, seconds, 50, 250)
    steam = fade(hiss(random, 1.2, 1500, 6000), 0.3, 0.7)
    return fade(drone + mix(silence(seconds), 0.5 * repeat(steam, (0.1, seconds - 1.6))), 0.3, 0.4)
