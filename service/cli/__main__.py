"""`python -m service.cli` is `descent`."""

from service.cli.main import main

if __name__ == "__main__":
    main()
