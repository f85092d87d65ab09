"""`python -m cascade` is `cascade`."""

from cascade.cli import main

main()
