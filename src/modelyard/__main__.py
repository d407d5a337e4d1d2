"""`python -m modelyard` is the `models` command."""

from modelyard.cli.app import main

main()
