"""The `ipcv` command as `python -m ipcv`."""

from ipcv.cli import main

main()
