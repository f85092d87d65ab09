"""Run `cascade` from a checkout: `python cli.py run …` is `cascade run …`."""

from cascade.cli.app import main

main()
