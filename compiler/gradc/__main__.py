"""``python -m gradc``."""

from gradc.cli.run import main

if __name__ == "__main__":
    main()
