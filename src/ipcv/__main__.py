"""The `ipcv` command as `python -m ipcv`."""

from ipcv.cli import main

if __name__ == "__main__":  # not in processes that this one spawns
    main()
