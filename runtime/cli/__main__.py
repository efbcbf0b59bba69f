"""`python -m runtime.cli` is `customers`."""

from runtime.cli.main import main

main()
