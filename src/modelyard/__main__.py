"""`python -m modelyard` is the `models` command."""

from modelyard.cli.start import main

main()
