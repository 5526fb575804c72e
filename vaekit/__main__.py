"""`python -m vaekit`: the command line, for interpreters whose scripts are not on the path."""

from vaekit.cli import main

if __name__ == "__main__":
    main()
