"""The questions of the demo set, by modality. A choice that begins with "*" is the right one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a clip; `kind` is the layer's first word and the sub-category, `cue` what there is to hear."""

    clip: str
    question: str
    choices: tuple[str, ...]
    kind: str
    cue: tuple[str, ...]


QUESTIONS: dict[str, list[Question]] = {
    "speech": [
        Question(
            "apples",
            "How much does the man have to pay?",
            ("7 dollars", "9 dollars", "*12 dollars", "16 dollars"),
            "Semantic: Content Analysis",
            ("three dollars a bag", "four bags"),
        ),
        Question(
            "goodbye",
            "What is the relationship between the two speakers?",
            ("*Mother and son", "Doctor and patient", "Husband and wife", "Shopkeeper and customer"),
            "Semantic: Content Analysis",
            ("a man says Mother", "dad", "dear"),
        ),
        Question(
            "late_bus",
            "How many different people speak?",
            ("1", "2", "*3", "5"),
            "Perception: Counting and Statistics",
            ("a woman", "a man with a Scottish accent", "another man", "the woman again"),
        ),
        Question(
            "three_takes",
            "The same sentence is heard three times. Which time does it sound as if it came over a telephone?",
            ("The first time", "*The second time", "The third time"),
            "Signal: Audio Difference Analysis",
            ("no low and no high frequencies the second time",),
        ),
        Question(
            "saying",
            "How does the saying at the end go on?",
            ("gathers no moss", "spoils the broth", "never boils", "is a friend indeed", "*catches the worm"),
            "Cultural: Culture of Speaker",
            ("early bird", "six o'clock"),
        ),
        Question(
            "late_bus",
            "Is the first speaker a woman or a man?",
            ("A man", "*A woman"),
            "Semantic: Speaker Analysis",
            ("a woman's voice",),
        ),
        Question(
            "commentary",
            "Which sport is being described?",
            ("Tennis", "Golf", "*Basketball", "Ice hockey"),
            "Cultural: Professional Knowledge and Reasoning",
            ("dribbles", "hoop", "three points"),
        ),
        Question(
            "three_takes",
            "What is wrong with the last sentence in the recording?",
            ("It is played backwards", "It breaks off early", "It has an echo", "*It is distorted by overload"),
            "Signal: Acoustic Quality Analysis",
            ("rough, clipped voice",),
        ),
    ],
    "sound": [
        Question(
            "six_beeps",
            "How many beeps are there?",
            ("4", "5", "*6", "7"),
            "Perception: Counting and Statistics",
            ("six beeps, the gaps between them not all alike",),
        ),
        Question(
            "siren",
            "How does the vehicle with the siren move?",
            ("*It approaches, passes and drives off", "It stands still", "It only comes near", "It drives backwards"),
            "Perception: Spatial Analysis",
            ("louder, then softer", "the pitch drops in the middle", "from the left to the right"),
        ),
        Question(
            "lost_channel",
            "What happens to the stereo recording half way through?",
            ("Both sides get louder", "The right side falls silent", "It becomes mono", "*The left side falls silent"),
            "Signal: Anomaly Detection",
            ("ticking on both sides", "later ticking on the right only"),
        ),
        Question(
            "three_events",
            "Which sound comes last?",
            ("*A bell", "Knocking", "A telephone", "A car horn"),
            "Perception: Temporal Analysis",
            ("telephone", "three knocks", "bell"),
        ),
        Question(
            "storm",
            "What is the weather like?",
            ("Clear and calm", "*A thunderstorm", "Thick fog", "Dry and windy"),
            "Perception: Environmental Perception and Reasoning",
            ("rain", "two claps of thunder"),
        ),
        Question(
            "hurrying",
            "How does the person's walking pace change?",
            ("It stays the same", "*It gets faster", "It gets slower"),
            "Perception: Correlation Analysis",
            ("footsteps", "shorter and shorter gaps"),
        ),
    ],
    "music": [
        Question(
            "rising_scale",
            "Which kind of scale is played?",
            ("Descending major", "Ascending minor", "*Ascending major", "Descending minor"),
            "Perception: Music Theory",
            ("D major", "eight rising notes"),
        ),
        Question(
            "twice",
            "The melody is played two times. How is the second time different?",
            ("*It is about twice as fast", "It is an octave higher", "It is far softer", "It is in minor"),
            "Signal: Audio Difference Analysis",
            ("the same notes", "double speed"),
        ),
        Question(
            "drums",
            "What is the approximate tempo of the drums?",
            ("60 beats per minute", "80 beats per minute", "*100 beats per minute", "140 beats per minute"),
            "Perception: Music Theory",
            ("drum kit", "100 beats per minute"),
        ),
        Question(
            "joy",
            "Who composed this melody?",
            ("Mozart", "Chopin", "Vivaldi", "*Beethoven"),
            "Cultural: Professional Knowledge and Reasoning",
            ("Ode to Joy",),
        ),
        Question(
            "sad_chords",
            "How many chords are played?",
            ("3", "4", "6", "*5"),
            "Perception: Counting and Statistics",
            ("A minor, D minor, A minor, E major, A minor",),
        ),
        Question(
            "sad_chords",
            "What is the mood of this piece?",
            ("Playful and lively", "*Gloomy and solemn", "Triumphant", "Relaxed and sunny"),
            "Cultural: Aesthetic Evaluation",
            ("slow", "minor key", "low chords"),
        ),
        Question(
            "sad_chords",
            "Is the piece in a major or a minor key?",
            ("*Minor", "Major"),
            "Perception: Music Theory",
            ("A minor",),
        ),
    ],
    "mix-sound-speech": [
        Question(
            "umbrella",
            "Why is the woman upset?",
            ("She lost her ticket", "She missed her bus", "*She has no umbrella in the rain", "She forgot her keys"),
            "Semantic: Emotion and Intention",
            ("rain", "going to get wet", "I forgot my umbrella"),
        ),
        Question(
            "appointment",
            "How many times does the telephone ring before it is answered?",
            ("1", "2", "4", "*3"),
            "Perception: Counting and Statistics",
            ("three rings",),
        ),
        Question(
            "platform",
            "From which platform does the train leave?",
            ("Platform two", "Platform three", "Platform four", "*Platform six"),
            "Semantic: Content Analysis",
            ("not from platform two", "from platform six"),
        ),
        Question(
            "appointment",
            "On which day will the man come?",
            ("Monday", "*Thursday", "Friday", "Sunday"),
            "Semantic: Content Analysis",
            ("cannot come on Monday", "See you on Thursday"),
        ),
    ],
    "mix-music-speech": [
        Question(
            "radio",
            "When do the doors open?",
            ("At six", "*At seven", "At eight", "At nine"),
            "Semantic: Content Analysis",
            ("starts at eight o'clock", "one hour earlier"),
        ),
        Question(
            "lesson",
            "How does the melody move between the two sentences?",
            ("It rises", "*It falls", "It stays on one note", "It leaps up and down"),
            "Perception: Music Theory",
            ("a descending scale",),
        ),
        Question(
            "candles",
            "What is most likely in front of the woman who is spoken to?",
            ("A suitcase", "A chessboard", "A newspaper", "*A cake"),
            "Cultural: Imagination",
            ("a birthday tune", "blow out all the candles", "make a wish"),
        ),
        Question(
            "radio",
            "What does the music do after the man has stopped speaking?",
            ("*It gets louder and goes on", "It ends at once", "It turns into a different tune"),
            "Perception: Temporal Analysis",
            ("a waltz, soft under the voice", "louder after it"),
        ),
    ],
    "mix-sound-music": [
        Question(
            "morning",
            "What interrupts the music?",
            ("*An alarm clock", "A barking dog", "A passing train", "Breaking glass"),
            "Perception: Environmental Perception and Reasoning",
            ("music box", "bursts of four beeps"),
        ),
        Question(
            "sleigh",
            "At which time of year is this tune usually heard?",
            ("Easter", "Midsummer", "Halloween", "*Christmas"),
            "Cultural: Culture of Speaker",
            ("Jingle Bells", "sleigh bells"),
        ),
        Question(
            "old_record",
            "What happens to the music at the end?",
            ("It speeds up", "It starts again", "It gets louder", "*It slows down and sinks in pitch"),
            "Signal: Anomaly Detection",
            ("crackling record", "the record runs down"),
        ),
        Question(
            "morning",
            "After about how many seconds does the beeping begin?",
            ("1", "3", "*6", "9"),
            "Perception: Temporal Analysis",
            ("music box for six seconds", "alarm clock"),
        ),
    ],
    "mix-sound-music-speech": [
        Question(
            "foyer",
            "Where was this most likely recorded?",
            ("*In a theatre", "On a ship", "In a kitchen", "At a petrol station"),
            "Perception: Environmental Perception and Reasoning",
            ("bell", "please take your seats", "applause", "fanfare"),
        ),
        Question(
            "empty_house",
            "What kind of film could this scene come from?",
            ("A sports film", "*A horror film", "A cooking show", "A romantic comedy"),
            "Cultural: Imagination",
            ("thunder", "dark organ chords", "Nobody has lived in this old house"),
        ),
        Question(
            "bride",
            "Which event is this?",
            ("A funeral", "A football match", "*A wedding", "A school exam"),
            "Cultural: Culture of Speaker",
            ("church bells", "Bridal Chorus", "beautiful white dress"),
        ),
        Question(
            "foyer",
            "How many times is the bell struck?",
            ("1", "*2", "3", "4"),
            "Perception: Counting and Statistics",
            ("two strokes of a bell",),
        ),
        Question(
            "empty_house",
            "How does the woman most likely feel?",
            ("*Frightened", "Bored", "Proud", "Amused"),
            "Semantic: Emotion and Intention",
            ("Did you hear that?", "thunder", "dissonant organ"),
        ),
    ],
}
