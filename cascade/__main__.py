"""`python -m cascade` is `cascade`."""

from cascade.cli.app import main

main()
