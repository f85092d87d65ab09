"""The captions' benchmark still runs, and its two captioners still agree; nothing here is timed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("msclap") is None, reason="msclap is not installed")]
ROOT = Path(__file__).parent.parent


def test_both_captioners_agree_and_every_figure_is_named() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "captions.py"), "--quick", "--json", "--part", "sound"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert found["clapcap_captions_equal"] == 1.0
    assert found.keys() >= {"clapcap_batched_over_msclap", "clapcap_short_clips_over_msclap", "msclap_s_per_window"}
