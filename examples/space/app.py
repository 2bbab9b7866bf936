"""The page of `ipcv demo` as a Hub Space, where the Hub lets visitors in."""

from ipcv.cli import main

main(["demo", "--host", "0.0.0.0", "--port", "7860"])
