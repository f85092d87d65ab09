"""Run `cascade` from a checkout: `python cli.py run …` is `cascade run …`."""

from cascade.cli import main

main()
