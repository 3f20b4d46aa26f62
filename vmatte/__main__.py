"""`python -m vmatte`."""

from vmatte.cli import main

main()
