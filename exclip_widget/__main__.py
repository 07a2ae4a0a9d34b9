"""``python -m exclip_widget``: the command line."""

from .command_line import main

if __name__ == "__main__":
    main()
