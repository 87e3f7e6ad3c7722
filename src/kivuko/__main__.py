"""``python -m kivuko`` is ``kivuko``."""

from kivuko.cli import main

if __name__ == "__main__":
    main()
