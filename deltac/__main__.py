"""`python -m deltac` is the command `deltac`."""

from deltac.cli.main import main

main()
